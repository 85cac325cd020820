"""python -m facesieve.fiqa.student STAGE RECIPE: prepare, embed, labels, freeze, train, release; then tracks
(embed with --data), head, readout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ...stream.errors import FacesieveError
from ..embedders import DlibOnChips, MobileFaceNetFoamliu
from ..lightqnet import LightQNet
from . import stages
from .head import student_of
from .recipe import read_recipe
from .refit import make_tracks, read_out, refit, release_embedding
from .train import Trainer, averaged_network

STAGES = ("prepare", "embed", "labels", "freeze", "train", "release", "tracks", "head", "readout")

NOTES = {
    "inputs": {"chips": "(n, 112, 112, 3) uint8 RGB, ArcFace alignment"},
    "outputs": {"quality": "(n,) float32, higher is better", "embedding": "(n, 128) float32, unit length"},
    "licence": {
        "weights": "Apache-2.0",
        "start": "dlib_face_recognition_resnet_model_v1 (Davis E. King, CC0)",
        "teachers": {"foamliu MobileFaceNet": "Apache-2.0", "dlib ResNet": "CC0", "LightQNet dm100": "MIT"},
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facesieve.fiqa.student", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument(
        "--dlib", type=Path, default=Path("checkpoints/dlib_face_recognition_resnet_model_v1.dat")
    )
    parser.add_argument("--data", type=Path, default=Path("checkpoints/student/data"))
    parser.add_argument("--tracks", type=Path, default=Path("checkpoints/student/tracks"))
    parser.add_argument("--out", type=Path, default=Path("checkpoints/student/run"))
    parser.add_argument("--weights", type=Path, default=Path("engines/zoo/weights/facesieve-t.onnx"))
    parser.add_argument("--recogniser", choices=["foamliu", "dlib", "lightqnet"], default="foamliu")
    parser.add_argument("--minutes", type=float, default=np.inf, help="stop training after so long")
    parser.add_argument("--labels", type=Path, default=Path("fiqa/labels/facesieve-t.npz"))
    parser.add_argument("--first", type=Path, help="state dict to start training from")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        run(arguments)
    except FacesieveError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def run(arguments: argparse.Namespace) -> None:
    """One stage."""
    recipe = read_recipe(arguments.recipe)
    if arguments.stage == "prepare":
        stages.prepare(recipe, arguments.shared, arguments.data)
        return
    if arguments.stage == "tracks":
        make_tracks(recipe, arguments.shared, arguments.data, arguments.tracks)
        return
    if arguments.stage == "embed":
        models = arguments.shared / "models"
        match arguments.recogniser:
            case "foamliu":
                foamliu = MobileFaceNetFoamliu(models / "mobilefacenet_foamliu.onnx", precision="bf16")
                stages.embed(foamliu, arguments.data)
            case "dlib":
                stages.embed(DlibOnChips(arguments.dlib), arguments.data)
            case _:
                stages.score_peer(LightQNet(models / "lightqnet-dm100.pb"), arguments.data)
        return
    material = stages.read_material(recipe, arguments.data)
    if arguments.stage == "head":
        student = refit(recipe, student_of(arguments.weights), arguments.data, arguments.tracks)
        stages.release(student, recipe, material, arguments.weights, NOTES)
        return
    if arguments.stage == "readout":
        student = read_out(recipe, student_of(arguments.weights), arguments.data, arguments.tracks)
        release_embedding(student, recipe, material, arguments.weights)
        return
    student = stages.start(recipe, material, arguments.dlib)
    if arguments.first is not None:
        student.load_state_dict(torch.load(arguments.first, weights_only=True))
    if arguments.stage == "labels":
        stages.save_labels(recipe, material, arguments.data, arguments.labels)
    elif arguments.stage == "freeze":
        stages.freeze(student, recipe, material, arguments.data)
    elif arguments.stage == "train":
        until = time.monotonic() + 60 * arguments.minutes
        student = stages.train(recipe, material, student, arguments.data, arguments.out, until)
        figures, _ = stages.examine(student, material)
        (arguments.out / "holdout.json").write_text(json.dumps(figures, indent=1) + "\n")
    else:
        lesson = stages.make_lesson(recipe, material, arguments.data)
        student = averaged_network(Trainer(student, lesson, recipe.training, arguments.out))
        stages.release(student, recipe, material, arguments.weights, NOTES)


if __name__ == "__main__":
    sys.exit(main())
