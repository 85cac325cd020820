"""`facesieve serve` and `facesieve schema`."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from .stream.errors import EXIT_INTERRUPTED
from .stream.interrupts import is_urgent, wishes


def serve(
    config: Annotated[Path, typer.Option(help="A TOML file with [[camera]] and [[sink]] tables.")],
    no_web: Annotated[bool, typer.Option("--no-web", help="Neither page nor API: nothing listens.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Logs as JSON lines.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More logs.")] = False,
) -> None:
    """Serve live cameras: best shots as events, while people are still walking by.

    SIGTERM, Ctrl-C or SIGHUP ends it cleanly (tracks end, sinks take what is there, exit code 0); a second
    SIGTERM or Ctrl-C ends it at once (130), and the next start ends the tracks that were left.
    """
    from .serve import serve as run
    from .serve_config import read_serve_config

    _log_to_stderr(as_json=log_json, level=logging.DEBUG if verbose else logging.INFO)
    settings = read_serve_config(config)
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and is_urgent(number):
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    for number in wishes():
        signal.signal(number, ask)
    run(settings, stop, path=None if no_web else config)


def schema() -> None:
    """Print the JSON Schema of the service's events."""
    from .stream.serve.events import event_schema

    typer.echo(json.dumps(event_schema(), indent=2))


def key() -> None:
    """Print a new key for serve.encryption_keys. Keep it apart from what it encrypts, and keep a copy."""
    from .stream.sealing import new_key

    typer.echo(new_key())


def unseal(
    files: Annotated[list[Path], typer.Argument(help="Pictures and event files that end in .enc.")],
    out: Annotated[Path, typer.Option(help="The folder for what was in them.")],
) -> None:
    """Decrypt what the service wrote with the keys in FACESIEVE_ENCRYPTION_KEYS (separated by spaces)."""
    from .stream.errors import ConfigError, SourceUnreadable
    from .stream.sealing import SUFFIX, from_environment, read_sealed
    from .stream.sinks.files import make_folder, write_whole

    seal = from_environment(os.environ)
    make_folder(out)
    for path in files:
        if path.suffix != SUFFIX:
            raise ConfigError(f"{path}: expected a name that ends in {SUFFIX}")
        try:
            write_whole(out / path.stem, read_sealed(path, seal))
        except OSError as error:
            raise SourceUnreadable(f"{path}: cannot be read: {error.strerror}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_to_stderr(*, as_json: bool, level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines()
        if as_json
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    log = logging.getLogger("facesieve")
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
