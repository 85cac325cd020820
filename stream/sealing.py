"""Faces and embeddings at rest: what is written down goes through a Sealer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from .errors import ConfigError, EngineUnavailable
from .sinks.files import naming, write_whole

_LOG = logging.getLogger("facesieve.serve")

SUFFIX = ".enc"
"""Of a file whose content is sealed."""
KEYS = "FACESIEVE_ENCRYPTION_KEYS"
_PROOF = b"facesieve"


class Sealer(Protocol):
    """Makes bytes unreadable for those without the key, and readable again. For any number of threads."""

    @property
    def suffix(self) -> str:
        """Of the names of sealed files; "" where nothing is sealed."""

    @property
    def rotates(self) -> bool:
        """Whether it still opens with older keys than it seals with."""

    def seal(self, data: bytes) -> bytes:
        """One line of printable ASCII, where anything is sealed."""

    def open(self, data: bytes) -> bytes:
        """What was sealed. Raises ConfigError when none of the keys fits."""

    def is_newest(self, data: bytes) -> bool:
        """Whether it was sealed as seal does it now, not with an older key or not at all."""


class Plain:
    """Seals nothing."""

    suffix = ""
    rotates = False

    def seal(self, data: bytes) -> bytes:
        """The same."""
        return data

    def open(self, data: bytes) -> bytes:
        """The same."""
        return data

    def is_newest(self, data: bytes) -> bool:  # noqa: ARG002
        """Always."""
        return True


class Encrypting:
    """AES-128-CBC with HMAC-SHA256, as `cryptography`'s Fernet has it.

    keys: 32 bytes each in URL-safe base64 (`facesieve key` makes one). The first seals, all open: a new key
    is put in front of the old one, which may go when nothing is left that it sealed.
    """

    suffix = SUFFIX

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ConfigError for what is no key, EngineUnavailable without the library."""
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ImportError as missing:
            raise EngineUnavailable("encryption needs `pip install 'facesieve[serve]'`") from missing
        if not keys:
            raise ConfigError("expected at least one key to encrypt with")
        try:
            made = [Fernet(key.strip()) for key in keys]
        except ValueError as error:
            # Without the key itself in the message.
            raise ConfigError(
                "an encryption key is not 32 bytes in URL-safe base64: make one with `facesieve key`"
            ) from error
        self._first, self._all, self._wrong = made[0], MultiFernet(made), InvalidToken
        self.rotates = len(made) > 1

    def seal(self, data: bytes) -> bytes:
        """See Sealer."""
        return self._first.encrypt(data)

    def open(self, data: bytes) -> bytes:
        """See Sealer."""
        try:
            return self._all.decrypt(data)
        except self._wrong as error:
            raise ConfigError("none of the encryption keys fits: another one, or damaged data") from error

    def is_newest(self, data: bytes) -> bool:
        """See Sealer."""
        try:
            self._first.decrypt(data)
        except self._wrong:
            return False
        return True


def from_environment(environment: Mapping[str, str]) -> Sealer:
    """For commands that read what the service wrote: of the keys in KEYS, separated by spaces; Plain without.

    Raises ConfigError."""
    keys = environment.get(KEYS, "").split()
    return Encrypting(keys) if keys else Plain()


def new_key() -> str:
    """A key for Encrypting. Raises EngineUnavailable without the library."""
    try:
        from cryptography.fernet import Fernet
    except ImportError as missing:
        raise EngineUnavailable("encryption needs `pip install 'facesieve[serve]'`") from missing
    return Fernet.generate_key().decode()


def proof(sealer: Sealer) -> bytes | None:
    """What a store keeps so that the next one to open it can tell whether it has the key; None if plain."""
    return sealer.seal(_PROOF) if sealer.suffix else None


def must_reseal(sealer: Sealer, kept: bytes | None, what: str) -> bool:
    """Whether what lies in a store must be sealed anew: it was plain and is not to be, or by an older key.

    kept: the store's proof. what: the store, in errors. Raises ConfigError for a wrong or missing key.
    """
    if kept is None:
        return bool(sealer.suffix)
    if not sealer.suffix:
        raise ConfigError(
            f"{what} is encrypted: expected its key in serve.encryption_keys, or for other commands in {KEYS}"
        )
    try:
        sealer.open(kept)
    except ConfigError as error:
        raise ConfigError(f"{what} was encrypted with another key than those given") from error
    return not sealer.is_newest(kept)


def read_sealed(path: Path, sealer: Sealer) -> bytes:
    """A file's content, opened if its name says that it is sealed: in one piece, or line by line. Raises
    OSError, ConfigError."""
    data = path.read_bytes()
    if path.suffix != SUFFIX:
        return data
    if not sealer.suffix:
        raise ConfigError(f"{path} is encrypted: expected its key in serve.encryption_keys, or in {KEYS}")
    return b"\n".join(sealer.open(line) if line else b"" for line in data.split(b"\n"))


def reseal_files(folder: Path, sealer: Sealer) -> int:
    """Seal the sealed files below a folder with the newest key; how many were not. Files that no key opens
    stay as they are. Raises OutputError."""
    resealed = 0
    for path in sorted(folder.rglob(f"*{SUFFIX}")) if sealer.rotates else ():
        if path.is_symlink() or not path.is_file():
            continue
        with naming(path):
            data = path.read_bytes()
        if sealer.is_newest(data):
            continue
        try:
            write_whole(path, sealer.seal(sealer.open(data)))
        except ConfigError as error:
            _LOG.error("%s: %s", path, error)
            continue
        resealed += 1
    return resealed
