"""`facesieve validate`: torch and matplotlib are imported when it is called, so that mounting it is free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...stream.errors import ConfigError
from ..methods import Autocast, Method, Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from ..teachers import Teacher

BATCH = {"faceqan": 4, "diffiqa": 1}


def validate(
    run_dir: Annotated[Path, typer.Argument(help="Folder of `facesieve run --keep-candidates`.")],
    fr: Annotated[Path, typer.Option("--fr", help="Recogniser: .onnx, .pt, .pth or dlib's .dat.")],
    method: Annotated[Method, typer.Option(help="The teacher.")] = "faceqan",
    sample: Annotated[int, typer.Option(min=0, help="Candidates looked at besides those kept.")] = 200,
    tracks: Annotated[
        int | None, typer.Option(min=1, help="Look at so many tracks only, drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample, the noise and the intervals.")] = 0,
    min_spearman: Annotated[
        float, typer.Option(min=-1, max=1, help="Least rank agreement with the teacher.")
    ] = 0.2,
    max_regret: Annotated[
        float, typer.Option(min=0, help="Most regret, as a share of a random choice's.")
    ] = 0.9,
    max_error_rise: Annotated[
        float, typer.Option(min=-1, max=1, help="Most recognition error above random frames', low end.")
    ] = 0.0,
    fmr: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="False match rate that the threshold is read off at.")
    ] = 1e-3,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="The recogniser's own cosine threshold instead.")
    ] = None,
    diffusion: Annotated[
        Path | None, typer.Option(help="DifFIQA's UNet, as `train diffusion` writes it.")
    ] = None,
    fr_preprocessing: Annotated[
        Preprocessing | None, typer.Option(help="What the recogniser takes; known for torch files.")
    ] = None,
    copies: Annotated[int | None, typer.Option(min=1, help="FaceQAN's k (10), DifFIQA's n (10).")] = None,
    autocast: Annotated[
        Autocast, typer.Option(help="Arithmetic of the teacher; bfloat16 is faster where the CPU has it.")
    ] = "none",
    threads: Annotated[int | None, typer.Option(min=1, help="torch's threads; default all cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the reports; default RUN_DIR.")] = None,
) -> None:
    """Hold what a run kept against a teacher and a recogniser; writes validation.json and validation.html.

    The last line is `PASS: …` or `FAIL: …`. Exit codes: 0 pass, 4 fail, others as of `facesieve run`.
    """
    from ...stream.sinks.files import make_folder
    from ..cli import _set_threads
    from ..progress import bar
    from ..recognisers import load_recogniser
    from .report import write_reports
    from .run import Plan, validate_run
    from .verdict import EXIT_FAILED, Thresholds

    _set_threads(threads)
    recogniser = load_recogniser(fr, fr_preprocessing)
    wanted = Thresholds(min_spearman, max_regret, max_error_rise)
    plan = Plan(sample, tracks, seed, fmr, threshold, BATCH[method], wanted)
    teacher = _teacher(method, recogniser, diffusion, seed, copies, autocast)
    with bar(f"asking {method}") as tick:
        done = validate_run(run_dir, teacher, recogniser, fr, plan, tick)
    target = out or run_dir
    make_folder(target)
    for path in write_reports(done, target):
        typer.echo(path)
    typer.echo(done.verdict.line)
    if not done.verdict.passed:
        raise typer.Exit(EXIT_FAILED)


def _teacher(
    method: Method,
    recogniser: nn.Module,
    diffusion: Path | None,
    seed: int,
    copies: int | None,
    autocast: Autocast,
) -> Teacher:
    from ..teachers import DifFIQA, FaceQAN, diffiqa_settings, faceqan_settings

    if method == "faceqan":
        return FaceQAN(recogniser, faceqan_settings(seed, copies, autocast))
    if diffusion is None:
        raise ConfigError(
            "DifFIQA needs a trained UNet: give --diffusion, as `facesieve train diffusion` writes it"
        )
    from ..diffiqa import load_diffusion

    settings = diffiqa_settings(seed, copies, diffusion, autocast)
    return DifFIQA(recogniser, load_diffusion(diffusion), settings)
