"""Names of sources as people and file systems may see them: untrusted paths made harmless."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

_SLUG_BYTES = 80
_SHOWN_CHARS = 200
_HASH_CHARS = 8
_STDIN = "stdin"


def printable(name: str | os.PathLike[str]) -> str:
    """The name on one line of visible characters, for messages and reports.

    Control characters, line breaks, invisible formatting (also the marks that reverse text) and undecodable
    bytes are written as escapes, so that a hostile name can neither move the cursor nor forge a second line.
    A name above 200 characters is cut in the middle.
    """
    text = "".join(_escaped(c) for c in os.fspath(name))
    if len(text) > _SHOWN_CHARS:
        half = _SHOWN_CHARS // 2
        text = f"{text[:half]}…{text[-half:]}"
    return text


def _escaped(character: str) -> str:
    # Categories: Cc control, Cf format, Cs surrogate (undecodable bytes), Co/Cn unassigned, Zl/Zp line ends.
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return character.encode("unicode_escape").decode("ascii")
    return character


def slug(spec: str | os.PathLike[str]) -> str:
    """A folder name for the results of a source: the stem of its last path part made safe, deterministic.

    Letters, digits, `-`, `_` and inner dots stay; everything else turns into `_`. At most 80 bytes of UTF-8,
    never empty, never starting with a dot. Where that loses more than the extension, eight hexadecimal digits
    of the spec's hash follow, so two hostile names do not meet in one folder. (Two plain files of one name in
    different folders do share a slug: the caller numbers those.)
    """
    text = os.fspath(spec)
    if text == "-":
        return _STDIN
    part = Path(text).name
    stem = Path(part).stem if part else ""
    stem = unicodedata.normalize("NFC", stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem).strip(".")
    if safe == stem and safe and len(safe.encode()) <= _SLUG_BYTES:
        return safe
    mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH_CHARS]
    room = _SLUG_BYTES - len(mark) - 1
    head = safe.encode()[:room].decode("utf-8", "ignore").strip("._")
    return f"{head}_{mark}" if head else mark
