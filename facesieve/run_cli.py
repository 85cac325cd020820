"""`facesieve run`, `report` and `score`: pictures in, faces and their quality out; mounted by the command
line."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from .chosen import DEBUG, Detectors, Engines, Trackers, chosen, named
from .models_cli import Licences
from .stream.errors import EXIT_INTERRUPTED, NoFrames
from .stream.interrupts import interruptible
from .stream.policy import Diversity, Emit


def run(
    sources: Annotated[
        list[str], typer.Argument(help="Video files, folders or globs of images, or - for standard input.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=named,
            metavar="<path>",
            help="Folder for the results; several sources get one below it each.",
        ),
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
        Licences | None,
        typer.Option(help="commercial refuses models that do not allow it, before any is fetched."),
    ] = None,
    keep_candidates: Annotated[
        bool,
        typer.Option(
            "--keep-candidates",
            help="Store the chips of all scored faces, for `validate`; none is left unscored then "
            "(selection.skip_hopeless is off).",
        ),
    ] = False,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Store the box of every tracked detection, for `export`.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON lines on stdout.")] = False,
) -> None:
    """Pick the best face frames of every person in each of SOURCES.

    Exit codes: 0 well, 2 wrong usage or configuration, 3 partial (a damaged source was read as far as it
    goes), 11–17 the source, 21–23 the output, 31–34 the model, 41 the engine, 130 interrupted, 141 nobody
    reads standard output any more.
    """
    from .console import Screen
    from .job import run_sources, whole_report

    settings = chosen(
        config,
        detector=detector,
        tracker=tracker,
        scorer=scorer,
        engine=engine,
        values={
            "detector": {"hz": 0.0 if every_frame else None},
            "selection": {
                "top_k": top_k,
                "diversity": diversity,
                "emit": emit,
                "profile": profile,
                "prefer_fit": prefer_fit or None,
            },
            "identity": {"store": store, "embedder": embedder, "threshold": threshold},
            "output": {"keep_candidates": keep_candidates or None, "boxes": boxes or None},
            "models": {"licence": licence},
        },
    )
    codes: list[int] = []
    with interruptible() as stop:
        screen = Screen(quiet=quiet, as_json=as_json, stop=stop)
        with screen.following():
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
    screen.check()
    if stop.is_set() and len(codes) < len(sources):  # between two of them
        codes.append(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_INTERRUPTED if EXIT_INTERRUPTED in codes else next(filter(None, codes), 0))


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=named,
            metavar="folder",
            help="A folder that `facesieve run` has written, of one source or of several.",
        ),
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


def score(
    paths: Annotated[
        list[Path],
        typer.Argument(
            parser=named, metavar="paths", help="Images, folders of images, or folders with faces.csv."
        ),
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
    settings = chosen(config, detector=detector, scorer=scorer, engine=engine)
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
