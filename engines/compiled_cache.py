"""Compiled networks on disk: a second start loads them instead of compiling.

One file a network, named by a hash of all that it depends on; its first 32 bytes are the SHA-256 of the rest,
so that a damaged or half-written file is recompiled, never handed to a runtime.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from ..stream.errors import EngineUnavailable

_DIGEST_BYTES = 32


def path(folder: Path, key: str) -> Path:
    """Where the network of that key lies or would lie."""
    return folder / f"{key}.compiled"


def load(folder: Path, key: str) -> bytes | None:
    """The network stored under key; None if there is none or it is damaged."""
    try:
        stored = path(folder, key).read_bytes()
    except OSError:
        return None
    digest, blob = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def save(folder: Path, key: str, blob: bytes) -> None:
    """Store the network under key, visible only when whole; EngineUnavailable if it cannot be held there."""
    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{key}.", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(blob).digest())
            file.write(blob)
        Path(temporary).replace(path(folder, key))
        temporary = None
    except OSError as error:
        raise EngineUnavailable(
            f"{folder}: cannot store a compiled network of {len(blob)} bytes there ({error.strerror}); "
            "set FACESIEVE_CACHE to another folder (with OpenVINO, engine.cache = false does without)"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
