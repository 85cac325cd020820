"""`facesieve evaluate` and `facesieve calibrate`; what is heavy is imported by the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ...stream.errors import ConfigError, EngineUnavailable, OutputUnwritable
from ..methods import Preprocessing

if TYPE_CHECKING:
    from .chips import Finder
    from .run import Judge, Method

STUDENT = "student"

FrOption = Annotated[
    list[str],
    typer.Option(
        "--fr", metavar="[NAME=]MODEL", help="Recogniser that judges: .onnx, .pt, .pth or dlib's .dat."
    ),
]
FrPreprocessingOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]KIND",
        help="What a recogniser takes: imagenet, symmetric or symmetric-bgr; known for torch files and ours.",
    ),
]
YunetOption = Annotated[
    Path | None,
    typer.Option(
        "--yunet", help="Find faces with this YuNet file, where a set has no landmarks; else CenterFace."
    ),
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder that keeps embeddings and scores for the next call.")
]


def evaluate(
    datasets: Annotated[
        list[Path],
        typer.Argument(
            help="Folder with faces.csv; of LFW, XQLFW, CALFW, CPLFW, CFP, IJB, YouTube Faces or Adience as "
            "published; or a packed .bin."
        ),
    ],
    fr: FrOption,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CSV",
            help="Scores as `facesieve score` writes them; again with the same NAME for the next set.",
        ),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=MODEL", help="A quality network run here: an ONNX file, or `student`."),
    ] = None,
    made_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FR", help="These scores were made by this recogniser: same-model under it."
        ),
    ] = None,
    fmr: Annotated[
        list[float] | None, typer.Option(help="False match rate; may be given several times. Default 1e-3.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of evaluation.json and evaluation.html.")] = Path(
        "evaluation"
    ),
    lightqnet: Annotated[Path | None, typer.Option(help="LightQNet's weights (.pb), as a baseline.")] = None,
    fr_preprocessing: FrPreprocessingOption = None,
    resamples: Annotated[int, typer.Option(min=2, help="Of the bootstrap over people.")] = 300,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each video of YouTube Faces.")] = 5,
    yunet: YunetOption = None,
    cache: CacheOption = None,
    time: Annotated[
        bool, typer.Option("--time", help="Measure the networks, and FaceQAN with the first recogniser.")
    ] = False,
) -> None:
    """Compare quality scores: error-versus-discard curves, best frame of each track, templates."""
    with _extra():
        from ..progress import bar
        from .open import open_dataset
        from .report import write
        from .run import Settings, runtime
        from .run import evaluate as run

    judges = _judges(fr, fr_preprocessing)
    methods = _methods(scores or [], scorer or [], made_by or [])
    settings = Settings(tuple(fmr or (1e-3,)), resamples, lightqnet, cache)
    sets = [open_dataset(path, frames) for path in datasets]
    if out.exists() and not out.is_dir():  # told before minutes of work
        raise OutputUnwritable(f"expected a folder, {str(out)!r} is a file")
    results = run(sets, judges, methods, settings, _finder(yunet), bar)
    cost = None
    if time:
        with bar("times of FaceQAN's copies") as tick:
            cost = runtime(sets[0], judges[0], methods, _finder(yunet), tick)
    for path in write(out, results, methods, settings, cost):
        typer.echo(path)


def calibrate(
    fr: Annotated[
        str, typer.Option("--fr", metavar="MODEL", help="Your recogniser: .onnx, .pt, .pth or dlib's .dat.")
    ],
    faces: Annotated[
        Path,
        typer.Option(
            "--faces", help="People with several images each: a faces.csv folder, or any other set."
        ),
    ],
    scorer: Annotated[
        str | None,
        typer.Option(help="A quality network (.onnx), `student` (default), or a table of `facesieve score`."),
    ] = None,
    fmr: Annotated[float, typer.Option(help="False match rate at which you decide.")] = 1e-3,
    target_fnmr: Annotated[
        list[float] | None,
        typer.Option(help="FNMR to reach; may be given several times. Default .1 .05 .02 .01."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The calibration; the plot goes beside it.")] = Path(
        "calibration.json"
    ),
    fr_preprocessing: Annotated[Preprocessing | None, typer.Option(help="What the recogniser takes.")] = None,
    yunet: YunetOption = None,
    cache: CacheOption = None,
) -> None:
    """Fit score → probability that a face is recognised by YOUR model, and suggest thresholds."""
    with _extra():
        from ...stream.sinks.files import make_folder
        from ..progress import bar
        from ..tables import is_parquet
        from .calibrate import TARGETS, calibrate_folder, summary
        from .run import Judge

    judge = Judge(Path(fr).stem, Path(fr), fr_preprocessing)
    given = Path(scorer or STUDENT)
    table = given if given.suffix == ".csv" or is_parquet(given) else None
    network = None if table else _network(str(given))
    make_folder(out.parent)
    with _finder(yunet) as finder:
        done = calibrate_folder(
            faces, judge, network, table, fmr, tuple(target_fnmr or TARGETS), out, finder, cache, bar
        )
    for line in summary(done):
        typer.echo(line)
    typer.echo(out)


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as missing:
        raise EngineUnavailable(
            f"this command needs `pip install 'facesieve[fiqa]'` ({missing.name} is missing)"
        ) from missing


def _judges(given: list[str], preprocessings: list[str] | None) -> list[Judge]:
    from .run import Judge

    kinds = dict(_split(text, "--fr-preprocessing") for text in preprocessings or [])
    judges = []
    for text in given:
        name, path = _split(text, "--fr")
        name = name or Path(path).stem
        kind = kinds.pop(name, kinds.get(""))
        if kind is not None and kind not in get_args(Preprocessing):
            raise ConfigError(f"--fr-preprocessing {kind}: expected {', '.join(get_args(Preprocessing))}")
        judges.append(Judge(name, Path(path), kind))  # type: ignore[arg-type]
    unknown = next((name for name in kinds if name), None)
    if unknown is not None:
        raise ConfigError(f"--fr-preprocessing {unknown}=…: none of the recognisers has this name")
    return judges


def _methods(scores: list[str], scorers: list[str], made_by: list[str]) -> list[Method]:
    from .run import Method

    tables: dict[str, list[Path]] = {}
    for text in scores:
        name, path = _split(text, "--scores")
        tables.setdefault(name or Path(path).stem, []).append(Path(path))
    makers = dict(_split(text, "--made-by") for text in made_by)
    methods = [Method(name, tuple(paths), None, makers.pop(name, None)) for name, paths in tables.items()]
    for text in scorers:
        name, path = _split(text, "--scorer")
        network = _network(path)
        name = name or network.stem
        methods.append(Method(name, (), network, makers.pop(name, None)))
    if makers:
        raise ConfigError(f"--made-by {next(iter(makers))}=…: no score has this name")
    return methods


def _split(text: str, option: str) -> tuple[str, str]:
    """NAME=VALUE, or VALUE with an empty name; a file whose own name has a = is taken whole."""
    name, equals, value = text.partition("=")
    if not equals or Path(text).exists():
        return "", text
    if not name or not value:
        raise ConfigError(f"{option} {text}: expected NAME=VALUE")
    return name, value


def _network(text: str) -> Path:
    if text != STUDENT:
        return Path(text)
    from ...engines.zoo.store import Store

    return Store().path("facesieve-t")


def _finder(yunet: Path | None) -> AbstractContextManager[Finder]:
    from .chips import centerface_finder, yunet_finder

    return centerface_finder() if yunet is None else yunet_finder(yunet)
