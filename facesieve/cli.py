"""The command line. Every error of the tree becomes one line on stderr and its own exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import identities_cli, models_bench, models_cli, results_cli, run_cli, serve_cli
from ._version import __version__
from .chosen import DEBUG
from .fiqa import cli as fiqa
from .fiqa.evaluate import cli as evaluation
from .fiqa.validate import cli as validation
from .stream.errors import EXIT_INTERRUPTED, EngineUnavailable, FacesieveError, OutputFull, OutputUnwritable
from .terminal import complain, give_up

EXIT_NO_READER = 141
"""Whoever read standard output is gone: what a shell says of a program that SIGPIPE ended."""
UNWRITABLE = {errno.ENOSPC: OutputFull, errno.EDQUOT: OutputFull, errno.EIO: OutputUnwritable}
"""How a write to standard output may fail through no fault of ours; EIO where a terminal was closed."""


@contextmanager
def _standard_output() -> Iterator[None]:
    """Says in our own way what keeps it from being written: typer and rich end with 1, as a bug here does."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        give_up(sys.stdout)
        raise SystemExit(EXIT_NO_READER) from None
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # which rich took for itself
            raise SystemExit(EXIT_NO_READER) from None
        raise
    except OSError as error:
        # every file of ours is written by `naming`, which names it: this one is standard output
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        give_up(sys.stdout)
        said = f"cannot write standard output: {str(error.strerror).lower()}"
        raise UNWRITABLE[error.errno](said) from None


class _Commands(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _standard_output():  # --help and --version are told here
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _standard_output():
                return super().invoke(ctx)
        except typer.Abort:  # asked whether to go on, nobody said yes; typer ends with 1
            _tell("stopped: nothing was done")
            raise SystemExit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    name="facesieve",
    cls=_Commands,
    help="Sieves the best face frames of every person out of video. --debug, anywhere, shows the traceback "
    "of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(
    help="Weights: what there is, where it comes from, what it may be used for.", no_args_is_help=True
)
app.add_typer(models, name="models")
app.add_typer(identities_cli.app, name="identities")

OFFLINE_PACKAGES = frozenset({"matplotlib", "onnx", "onnxruntime", "onnxscript", "scipy", "torch"})
"""Of the extra fiqa: what label, train, evaluate and their kin import when they are called."""


def main() -> None:
    """Entry point: errors of the tree become one line and an exit code; --debug shows the traceback."""
    if "--debug" in sys.argv[1:]:
        sys.argv.remove("--debug")
        os.environ[DEBUG] = "1"
    # OpenVINO's package brings its converter of models, and with it a telemetry client: a tenth of the start,
    # and nothing here asks for either.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    try:
        app()
    except FacesieveError as error:
        if os.environ.get(DEBUG):
            raise
        _tell(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name in OFFLINE_PACKAGES:
            needs = "`pip install 'facesieve[fiqa]'`"
            _tell(f"error: this command needs {needs} (there is no {error.name} here)")
            raise SystemExit(EngineUnavailable.exit_code) from None
        _tell(
            f"error: facesieve itself failed ({type(error).__name__}: {error}); "
            "run again with --debug for the traceback and report it"
        )
        raise SystemExit(1) from None
    finally:
        complain(lambda: None)  # what a log could not write must not fail again at the end of the process


def _tell(line: str) -> None:
    complain(lambda: sys.stderr.write(f"{line}\n"))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"facesieve {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What is asked of no command."""


app.command("run")(run_cli.run)
app.command("report")(run_cli.report)
app.command("score")(run_cli.score)
app.command("match")(results_cli.match)
app.command("export")(results_cli.export)
app.command("serve")(serve_cli.serve)
app.command("schema")(serve_cli.schema)
app.command("key")(serve_cli.key)
app.command("unseal")(serve_cli.unseal)

# The offline commands: each imports its tools (torch, onnx, matplotlib) when it is called, not before.
app.command("label")(fiqa.label)
app.add_typer(fiqa.train, name="train")
app.command("evaluate")(evaluation.evaluate)
app.command("calibrate")(evaluation.calibrate)
app.command("validate")(validation.validate)
models.command("import")(fiqa.import_model)
models.command("list")(models_cli.list_models)
models.command("pull")(models_cli.pull)
models.command("verify")(models_cli.verify)
models.command("build")(models_cli.build_model)
models.command("bench")(models_bench.bench)
