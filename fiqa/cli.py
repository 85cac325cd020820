"""The offline commands: `facesieve label`, `facesieve train …`, `facesieve models import`.

torch and onnx are imported by the commands themselves, so that mounting them costs nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..stream.errors import ConfigError
from .methods import Architecture, Autocast, Method, Preprocessing, StudentMethod
from .progress import bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .distill.data import TrainingFaces
    from .distill.run import Run
    from .distill.student_training import LabelRecipe
    from .networks import Student
    from .stopping import Stopping

train = typer.Typer(
    help="Train a student, or DifFIQA's diffusion, from labelled faces.", no_args_is_help=True
)

FacesOption = Annotated[
    list[Path], typer.Option("--faces", help="Folder with faces.csv and images/; may be given several times.")
]
LabelsOption = Annotated[
    list[Path],
    typer.Option("--labels", help="Table of `facesieve label`, one for each --faces, in that order."),
]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", help="TOML recipe (configs/); default the paper's values.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run; a run there is resumed.")]
StartOption = Annotated[
    Path | None, typer.Option("--start", help="Weights to start from: a student's, or its backbone's.")
]
TeacherOption = Annotated[
    Path,
    typer.Option("--teacher", help="Recogniser whose embeddings the student keeps: .onnx, .pt, .pth, .dat."),
]
PreprocessingOption = Annotated[
    Preprocessing | None,
    typer.Option(help="What the recogniser takes; known for torch files and our own ONNX."),
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="torch's threads; default all cores.")]
MinutesOption = Annotated[
    float | None, typer.Option(min=0, help="Save and stop after so long; the same command goes on.")
]
AutocastOption = Annotated[
    Autocast, typer.Option(help="Arithmetic of the networks; bfloat16 is faster where the CPU has it.")
]
LABEL_BATCH = {"faceqan": 4, "diffiqa": 1}
EMBEDDING_BATCH = 32
EXIT_INTERRUPTED = 130


def label(
    folder: Annotated[Path, typer.Argument(help="Folder with faces.csv and images/, or of 112×112 chips.")],
    fr: Annotated[Path, typer.Option("--fr", help="Recogniser: .onnx, .pt, .pth or dlib's .dat.")],
    method: Annotated[Method, typer.Option(help="The teacher.")] = "faceqan",
    out: Annotated[
        Path | None, typer.Option(help="CSV, or .parquet; default METHOD.csv in the current folder.")
    ] = None,
    diffusion: Annotated[
        Path | None, typer.Option(help="DifFIQA's UNet, as `train diffusion` writes it.")
    ] = None,
    fr_preprocessing: PreprocessingOption = None,
    seed: Annotated[int, typer.Option(help="Of the noise; each face has its own by its name.")] = 0,
    batch: Annotated[int | None, typer.Option(min=1, help="Faces at once; default 4, DifFIQA 1.")] = None,
    copies: Annotated[int | None, typer.Option(min=1, help="FaceQAN's k (10), DifFIQA's n (10).")] = None,
    autocast: AutocastOption = "none",
    threads: ThreadsOption = None,
) -> None:
    """Score every face of FOLDER with FaceQAN or DifFIQA; a stopped run goes on when called again."""
    from .label import label_folder
    from .recognisers import load_recogniser
    from .teachers import DifFIQA, FaceQAN, Teacher, diffiqa_settings, faceqan_settings

    _set_threads(threads)
    recogniser = load_recogniser(fr, fr_preprocessing)
    teacher: Teacher
    if method == "faceqan":
        teacher = FaceQAN(recogniser, faceqan_settings(seed, copies, autocast))
    elif diffusion is None:
        raise ConfigError(
            "DifFIQA needs a trained UNet: give --diffusion, as `facesieve train diffusion` writes it"
        )
    else:
        from .diffiqa import load_diffusion

        settings = diffiqa_settings(seed, copies, diffusion, autocast)
        teacher = DifFIQA(recogniser, load_diffusion(diffusion), settings)
    with bar(f"labelling with {method}") as tick:
        done = label_folder(
            folder, out or Path(f"{method}.csv"), teacher, fr, batch or LABEL_BATCH[method], tick
        )
    note = f", {done.refused} without a score (column reason)" if done.refused else ""
    typer.echo(f"{done.scored} faces scored{note}: {done.path}")


@train.command("ediffiqa")
def train_ediffiqa(
    faces: FacesOption,
    labels: LabelsOption,
    teacher: TeacherOption,
    recipe: RecipeOption = None,
    out: OutOption = Path("checkpoints/ediffiqa"),
    start: StartOption = None,
    teacher_preprocessing: PreprocessingOption = None,
    threads: ThreadsOption = None,
    minutes: MinutesOption = None,
) -> None:
    """eDifFIQA: labels lowered away from class centres, the teacher's embedding kept."""
    _set_threads(threads)
    _train_student("ediffiqa", recipe, faces, labels, out, start, (teacher, teacher_preprocessing), minutes)


@train.command("aikd")
def train_aikd(
    faces: FacesOption,
    labels: LabelsOption,
    teacher: TeacherOption,
    recipe: RecipeOption = None,
    out: OutOption = Path("checkpoints/aikd"),
    start: StartOption = None,
    teacher_preprocessing: PreprocessingOption = None,
    threads: ThreadsOption = None,
    minutes: MinutesOption = None,
) -> None:
    """AI-KD: a student of misaligned crops that answers as the teacher does on aligned ones."""
    _set_threads(threads)
    _train_student("aikd", recipe, faces, labels, out, start, (teacher, teacher_preprocessing), minutes)


@train.command("diffiqa-r")
def train_diffiqa_r(
    faces: FacesOption,
    labels: LabelsOption,
    recipe: RecipeOption = None,
    out: OutOption = Path("checkpoints/diffiqa-r"),
    start: StartOption = None,
    threads: ThreadsOption = None,
    minutes: MinutesOption = None,
) -> None:
    """DifFIQA(R): plain regression of labels on a recognition backbone."""
    _set_threads(threads)
    _train_student("diffiqa-r", recipe, faces, labels, out, start, None, minutes)


@train.command("diffusion")
def train_diffusion(
    faces: FacesOption,
    recipe: RecipeOption = None,
    out: OutOption = Path("checkpoints/diffusion"),
    threads: ThreadsOption = None,
    minutes: MinutesOption = None,
) -> None:
    """The UNet that DifFIQA asks for reconstructions; needs no labels."""
    from .diffiqa.training import train_diffusion as run_training
    from .distill.data import read_training_faces
    from .distill.recipes import DiffusionRecipe, recipe_for
    from .stopping import stopping

    _set_threads(threads)
    settings = recipe_for(DiffusionRecipe, recipe)
    found = read_training_faces(faces, None)
    with bar("training diffusion") as tick, stopping(minutes) as stop:
        run = run_training(settings, found, out, lambda step, total, _: tick(step, total), stop=stop)
    _tell_end(run, settings.steps, stop, out / "checkpoint.pt")


def import_model(
    checkpoint: Annotated[
        Path, typer.Argument(help="A published .pth: weights only, code in it never runs.")
    ],
    arch: Annotated[Architecture, typer.Option("--arch", help="What the checkpoint holds.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")],
) -> None:
    """Turn a published checkpoint into ONNX: uint8 chips in, embedding and quality out, checked."""
    from .export import import_checkpoint

    written = import_checkpoint(checkpoint, arch, out)
    typer.echo(
        f"{written.path}: {written.parameters / 1e6:.2f} M parameters, "
        f"torch and onnxruntime differ by {written.difference:.1e}"
    )


def _train_student(
    method: StudentMethod,
    recipe: Path | None,
    folders: list[Path],
    labels: list[Path],
    out: Path,
    start: Path | None,
    teacher: tuple[Path, Preprocessing | None] | None,
    minutes: float | None,
) -> None:
    from .distill.data import read_training_faces
    from .distill.recipes import STUDENTS, recipe_for
    from .distill.student_training import prepare, steps_of, train_student
    from .stopping import stopping

    settings: LabelRecipe = recipe_for(STUDENTS[method], recipe)
    faces = read_training_faces(folders, labels)
    embeddings = None if teacher is None else _teacher_embeddings(*teacher, faces, out)
    student = _start(settings, start, None if embeddings is None else embeddings.shape[1])
    lesson = prepare(settings, faces, embeddings)
    with bar(f"training {method}") as tick, stopping(minutes) as stop:
        run = train_student(
            settings, lesson, out, student, lambda step, total, _: tick(step, total), stop=stop
        )
    if math.isfinite(run.best):
        typer.echo(f"best validation loss {run.best:.4g}: {out / 'best.pth'}")
    _tell_end(run, steps_of(settings, lesson), stop, out / "checkpoint.pt")


def _tell_end(run: Run, total: int, stop: Stopping, path: Path) -> None:
    """What is done and where it lies; ends the program with 130 if somebody broke it off."""
    before = f", {run.resumed} of them before" if run.resumed else ""
    rest = "" if run.step >= total else f" of {total}{before}; the same command goes on"
    typer.echo(f"{run.step} steps{rest or before}: {path}")
    if stop.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _start(recipe: LabelRecipe, start: Path | None, width: int | None) -> Student:
    """The student with the given weights, or random ones of the recipe's seed.

    width: of the teacher's embedding, which the student's has too; None: the start's own.
    """
    import torch

    from .checkpoints import load_weights, read_state_dict
    from .networks import build_student, embedding_size_of

    torch.manual_seed(recipe.seed)
    state = {} if start is None else read_state_dict(start)
    student = build_student(recipe.architecture, width or embedding_size_of(state))
    if start is not None:
        whole = any(name in state for name in student.state_dict())
        load_weights(student if whole else student.backbone, state, start)
    return student


def _teacher_embeddings(
    path: Path, preprocessing: Preprocessing | None, faces: TrainingFaces, out: Path
) -> NDArray[np.float32]:
    """(n, d) of all faces, not normalised; kept in the run's folder, because it takes minutes."""
    import hashlib
    import io

    import numpy as np
    import torch

    from .distill.run import replace_file
    from .recognisers import load_recogniser

    recogniser = load_recogniser(path, preprocessing)
    names = "\n".join(faces.parts[p].files[r] for p, r in zip(faces.part, faces.row, strict=True))
    key = hashlib.sha256(path.read_bytes() + recogniser.preprocessing.encode() + names.encode()).hexdigest()
    kept = out / f"teacher-{key[:16]}.npy"
    if kept.is_file():
        return np.asarray(np.load(kept, allow_pickle=False), np.float32)
    rows: list[NDArray[np.float32]] = []
    with torch.inference_mode(), bar("embedding with the teacher") as tick:
        for first in range(0, len(faces), EMBEDDING_BATCH):
            chips = faces.chips(np.arange(first, min(first + EMBEDDING_BATCH, len(faces))))
            rows.append(recogniser(torch.from_numpy(chips).permute(0, 3, 1, 2).float() / 255).numpy())
            tick(min(first + EMBEDDING_BATCH, len(faces)), len(faces))
    embeddings = np.concatenate(rows)
    content = io.BytesIO()
    np.save(content, embeddings)
    replace_file(kept, content.getvalue())
    return embeddings


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
