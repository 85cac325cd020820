"""The command line. Every error of the tree becomes one line on stderr and its own exit code."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import identities_cli, models_bench, models_cli, results_cli, serve_cli
from ._version import __version__
from .config import Config, parse_config, read_config
from .fiqa import cli as fiqa
from .fiqa.evaluate import cli as evaluation
from .fiqa.validate import cli as validation
from .stream.errors import EXIT_INTERRUPTED, ConfigError, EngineUnavailable, FacesieveError, NoFrames
from .stream.interrupts import interruptible
from .stream.policy import Diversity, Emit

app = typer.Typer(
    name="facesieve",
    help="Sieves the best face frames of every person out of video.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(
    help="Weights: what there is, where it comes from, what it may be used for.", no_args_is_help=True
)
app.add_typer(models, name="models")
app.add_typer(identities_cli.app, name="identities")

Detectors = Literal["centerface", "yunet", "scrfd", "blazeface", "mediapipe"]
Trackers = Literal["bytetrack", "ocsort"]
Engines = Literal["openvino", "onnxruntime", "tensorrt"]
DEBUG = "FACESIEVE_DEBUG"


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
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name in OFFLINE_PACKAGES:
            needs = "`pip install 'facesieve[fiqa]'`"
            sys.stderr.write(f"error: this command needs {needs} (there is no {error.name} here)\n")
            raise SystemExit(EngineUnavailable.exit_code) from None
        sys.stderr.write(
            f"error: facesieve itself failed ({type(error).__name__}: {error}); "
            "run again with --debug for the traceback and report it\n"
        )
        raise SystemExit(1) from None


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
    """Sieves the best face frames of every person out of video. `--debug` anywhere shows tracebacks."""


@app.command()
def run(
    sources: Annotated[
        list[str], typer.Argument(help="Video files, folders or globs of images, or - for standard input.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; several sources get one below it each.")
    ] = Path("facesieve-results"),
    config: Annotated[Path | None, typer.Option(help="A TOML file; the options here go before it.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Shots kept of each track.")] = None,
    diversity: Annotated[
        Diversity | None, typer.Option(help="What a track's shots should differ in. Default none.")
    ] = None,
    emit: Annotated[
        Emit | None,
        typer.Option(
            help="When shots are told: quality (at their track's end, default), timeliness (one early as "
            "well), realtime (each better one as well); early ones go to revisions.jsonl."
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="What a face must meet: surveillance, enrolment, portrait-iso or a TOML file."),
    ] = None,
    prefer_fit: Annotated[
        bool,
        typer.Option(
            "--prefer-fit",
            help="With --profile: where no face of a track meets it, keep its best others, marked as unfit.",
        ),
    ] = False,
    detector: Annotated[Detectors | None, typer.Option(help="Default centerface.")] = None,
    tracker: Annotated[Trackers | None, typer.Option(help="Default bytetrack.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="student (default), analytical, an ONNX file, or a baseline as NAME:PATH."),
    ] = None,
    engine: Annotated[Engines | None, typer.Option(help="Default openvino.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="File (or postgresql:// URL) in which people are known from run to run."),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="Tells people apart: student (default), sface, or an ONNX recogniser."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Cosine similarity of one person; default the embedder's own."),
    ] = None,
    every_frame: Annotated[bool, typer.Option("--every-frame", help="Detect on every frame.")] = False,
    licence: Annotated[
        models_cli.Licences | None,
        typer.Option(help="commercial refuses models that do not allow it, before any is fetched."),
    ] = None,
    keep_candidates: Annotated[
        bool, typer.Option("--keep-candidates", help="Store the chips of all scored faces, for `validate`.")
    ] = False,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Store the box of every tracked detection, for `export`.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON lines on stdout.")] = False,
) -> None:
    """Pick the best face frames of every person in each SOURCE.

    Exit codes: 0 well, 2 wrong usage or configuration, 3 partial (a damaged source was read as far as it
    goes), 11–17 the source, 21–23 the output, 31–34 the model, 41 the engine, 130 interrupted.
    """
    from .console import Screen
    from .job import run_sources, whole_report

    settings = _settings(config, top_k, detector, tracker, scorer, engine, every_frame)
    settings = _selecting(settings, diversity, emit, profile, prefer_fit=prefer_fit)
    people = {"store": store, "embedder": embedder, "threshold": threshold}
    people = {name: value for name, value in people.items() if value is not None}
    settings = settings.model_copy(update={"identity": settings.identity.model_copy(update=people)})
    asked = {"keep_candidates": keep_candidates, "boxes": boxes}
    kept = settings.output.model_copy(update={name: True for name, wanted in asked.items() if wanted})
    settings = settings.model_copy(update={"output": kept})
    if licence is not None:
        allowed = settings.models.model_copy(update={"licence": licence})
        settings = settings.model_copy(update={"models": allowed})
    screen = Screen(quiet=quiet, as_json=as_json)
    codes: list[int] = []
    with interruptible() as stop, screen.following():
        for outcome in run_sources(
            sources,
            out,
            settings,
            overwrite=overwrite,
            stop=stop,
            watch=screen.watch,
            on_result=screen.result,
            on_revision=screen.revision,
        ):
            codes.append(outcome.exit_code)
            if outcome.error is not None and os.environ.get(DEBUG):
                raise outcome.error
            screen.outcome(outcome)
        if page := whole_report(sources, out):
            screen.report("Report of all sources", page)
    raise typer.Exit(EXIT_INTERRUPTED if EXIT_INTERRUPTED in codes else next(filter(None, codes), 0))


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(help="A folder that `facesieve run` has written, of one source or of several.")
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            help="Say which shots are fit for it: surveillance, enrolment, portrait-iso or a TOML file. "
            "Needs a run with components.enabled."
        ),
    ] = None,
) -> None:
    """Make report.html again from the files of a run."""
    from .stream.components.profile import read_profile
    from .stream.sinks.report import render_report

    typer.echo(render_report(folder, read_profile(profile) if profile is not None else None))


@app.command()
def score(
    paths: Annotated[
        list[Path], typer.Argument(help="Images, folders of images, or folders with faces.csv.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="A CSV or .parquet file; CSV on standard output if left out.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file; the options here go before it.")] = None,
    detector: Annotated[Detectors | None, typer.Option(help="Default centerface.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="student (default), analytical, an ONNX file, or a baseline as NAME:PATH."),
    ] = None,
    engine: Annotated[Engines | None, typer.Option(help="Default openvino.")] = None,
    components: Annotated[
        bool, typer.Option("--components", help="Measure the quality components as well: more columns.")
    ] = False,
) -> None:
    """Score faces of images: a table `file,score,model,…`, factors and components. Several folders are also
    compared.

    Faces that cannot be scored are listed on standard error with the reason. Exit code 0 unless nothing
    could be scored (16).
    """
    from .fiqa.progress import bar
    from .fiqa.tables import is_parquet, need_arrow, write_parquet
    from .score import Scored, as_table, compare, expected_faces, score_paths, write_table
    from .stream.decode.sources import printable
    from .stream.sinks.files import make_folder, write_whole

    if out is not None and is_parquet(out):
        need_arrow()
    settings = _settings(config, None, detector, None, scorer, engine, every_frame=False)
    total = expected_faces(paths)
    if out is not None:
        make_folder(out.parent)
    scored: list[Scored] = []
    with bar("scoring") as tick:
        for row in score_paths(paths, settings, components=components):
            scored.append(row)
            tick(len(scored), total)
    if out is not None and is_parquet(out):
        write_parquet(out, *as_table(scored))
    else:
        text = io.StringIO()
        write_table(scored, text)
        if out is None:
            sys.stdout.write(text.getvalue())
        else:
            write_whole(out, text.getvalue().encode())
    for row in scored:
        if row.quality is None:
            sys.stderr.write(f"not scored: {printable(row.file)}: {row.reason}\n")
    for line in compare(scored):
        sys.stderr.write(line + "\n")
    if not any(row.quality for row in scored):
        raise NoFrames("nothing could be scored")


def _settings(
    path: Path | None,
    top_k: int | None,
    detector: str | None,
    tracker: str | None,
    scorer: str | None,
    engine: str | None,
    every_frame: bool,
) -> Config:
    """The file's configuration with the command line's options over it."""
    settings = read_config(path) if path is not None else Config()
    table = settings.model_dump()

    def choose(part: str, kind: str | None) -> None:
        if kind is not None and table[part]["kind"] != kind:
            table[part] = {"kind": kind}

    choose("detector", detector)
    choose("tracker", tracker)
    choose("engine", engine)
    if scorer in ("student", "analytical"):
        choose("scorer", scorer)
    elif scorer is not None and Path(scorer).is_file():
        table["scorer"] = {"kind": "student", "weights": scorer}
    elif scorer is not None and ":" in scorer:
        table["scorer"] = {"kind": "baseline", "spec": scorer}
    elif scorer is not None:
        raise ConfigError(
            f"--scorer {scorer}: expected `student`, `analytical`, a file, or NAME:PATH of a baseline"
        )
    if top_k is not None:
        table["selection"]["top_k"] = top_k
    if every_frame:
        table["detector"]["hz"] = 0.0
    return parse_config(table, "command line")


def _selecting(
    settings: Config,
    diversity: Diversity | None,
    emit: Emit | None,
    profile: str | None,
    *,
    prefer_fit: bool,
) -> Config:
    asked = {"diversity": diversity, "emit": emit, "profile": profile, "prefer_fit": prefer_fit or None}
    table = {name: value for name, value in asked.items() if value is not None}
    return settings.model_copy(update={"selection": settings.selection.model_copy(update=table)})


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
