"""`facesieve match` and `export`: what to do with a run's results, mounted by the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .chosen import named
from .config import Config, read_config
from .engines.models.recognisers import Pixels
from .stream.errors import EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from .matches import Matches


def match(
    folder: Annotated[
        Path,
        typer.Argument(parser=named, metavar="folder", help="A folder that `facesieve run` has written."),
    ],
    gallery: Annotated[
        Path,
        typer.Option(
            parser=named,
            metavar="<path>",
            help="A folder a person with pictures; or one with faces.csv; or a run with identities.",
        ),
    ],
    embedder: Annotated[
        str, typer.Option(help="student (the quality network's own), sface, or an ONNX recogniser.")
    ] = "student",
    preprocessing: Annotated[
        Pixels | None,
        typer.Option(help="What an unknown ONNX recogniser wants its RGB pixels to be."),
    ] = None,
    fmr: Annotated[
        float | None, typer.Option(help="False match rate of one comparison; default 0.001.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Cosine similarity to decide at, instead of --fmr.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Candidates listed of each track.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="A .csv or .json file; a table on the terminal if left out.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file: detector, scorer, engine.")] = None,
) -> None:
    """Name the people of a run: match its kept faces against a gallery.

    Every picture that could not be used is listed on standard error with the reason. Exit codes: 0 well, 3
    partial (a person of the gallery could not be enrolled, or a chip of the run not read), 2 wrong usage, 11
    no run or gallery there, 16 nobody enrolled, 31–33 the model, 41 the engine.
    """
    from .match import match as compare
    from .matches import as_csv, as_json
    from .stream.sinks.files import make_folder, write_whole

    if out is not None and out.suffix not in (".csv", ".json"):
        raise ConfigError(f"--out {out}: expected a name that ends in .csv or .json")
    settings = read_config(config) if config is not None else Config()
    found = compare(
        folder, gallery, settings,
        embedder=embedder, preprocessing=preprocessing, fmr=fmr, threshold=threshold, top=top,
    )  # fmt: skip
    if out is None:
        _show(found)
    else:
        make_folder(out.parent)
        write_whole(out, (as_csv(found) if out.suffix == ".csv" else as_json(found)).encode())
    _tell(found)
    raise typer.Exit(0 if found.whole else EXIT_PARTIAL)


def export(
    folder: Annotated[
        Path,
        typer.Argument(parser=named, metavar="folder", help="A folder that `facesieve run` has written."),
    ],
    form: Annotated[
        Literal["csv", "parquet", "coco", "mot", "folder"],
        typer.Option("--format", help="Tables; tracks for other tools; or pictures in a folder a person."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=named,
            metavar="<path>",
            help="Folder to write to; export-FORMAT in FOLDER if left out.",
        ),
    ] = None,
    kept_only: Annotated[
        bool, typer.Option("--kept-only", help="coco, mot: the kept shots alone, which needs no --boxes run.")
    ] = False,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="parquet: also embeddings (biometric templates), where stored."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write a run's results for other tools.

    csv and parquet: shots, tracks, identities. coco and mot: every tracked detection; wants a run with
    --boxes. folder: the shots of each identity, or track. Exit codes: 0 well, 3 partial (a picture of the run
    could not be read), 11 no run there or it has no boxes, 13 damaged, 21–23 the output, 41 no pyarrow.
    """
    from .export import export as write
    from .stream.decode.sources import printable

    done = write(folder, form, out, kept_only=kept_only, embeddings=embeddings, overwrite=overwrite)
    for name, count in done.files.items():
        typer.echo(f"{printable(done.out / name)}: {count}")
    for file in done.unused:
        sys.stderr.write(f"not exported: {file.file}: {file.reason}\n")
    raise typer.Exit(EXIT_PARTIAL if done.unused else 0)


def _show(found: Matches) -> None:
    """The best candidate of each, on the terminal."""
    from rich.table import Table
    from rich.text import Text

    from .matches import UNKNOWN
    from .stream.decode.sources import printable
    from .terminal import Terminal

    table = Table("", "source", "shots", "who", "similarity", "next", box=None, pad_edge=False)
    for probe in found.probes:
        name = f"identity {probe.identity}" if probe.track is None else f"track {probe.track}"
        scores = [f"{candidate.similarity:.3f}" for candidate in probe.candidates[:2]]
        second = printable(probe.candidates[1].person) + " " + scores[1] if len(scores) > 1 else ""
        who = UNKNOWN if probe.decision is None else printable(probe.decision)
        cells = (printable(probe.source), str(probe.shots), who, scores[0] if scores else "", second)
        table.add_row(name, *(Text(cell) for cell in cells))
    Terminal().print(table)


def _tell(found: Matches) -> None:
    """What was compared with what, and what took no part, on standard error."""
    from .stream.decode.sources import printable

    enrolment = found.enrolment
    known = sum(probe.decision is not None for probe in found.probes)
    at = f"FMR {found.fmr:g}" if found.fmr is not None else "given"
    lines = [
        f"{known} of {len(found.probes)} known, {len(enrolment.enrolled.people)} people enrolled, "
        f"threshold {found.threshold:.3f} ({at}) of {found.embedder}"
    ]
    if found.fmr is not None:
        strangers = min(1.0, found.fmr * len(enrolment.enrolled.people))
        lines.append(f"at this FMR about {strangers:.2g} of all strangers get a name here; --fmr lowers it")
    lines += [f"not used: {file.file}: {file.reason}" for file in (*enrolment.unused, *found.unused)]
    lines += [f"not enrolled: {printable(person)}" for person in enrolment.absent]
    lines += [
        f"one person? {printable(first)} and {printable(second)} are as alike as one ({similarity:.3f})"
        for first, second, similarity in found.alike
    ]
    sys.stderr.write("".join(line + "\n" for line in lines))
