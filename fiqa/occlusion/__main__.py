"""python -m facesieve.fiqa.occlusion train|release RECIPE."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from pathlib import Path

import torch

from ...stream.errors import FacesieveError
from ...stream.types import CHIP_PX
from ..checkpoints import read_checkpoint
from .export import export_head
from .network import OcclusionHead
from .samples import read_chips
from .train import evaluate, read_recipe, train


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facesieve.fiqa.occlusion", description=__doc__)
    parser.add_argument("stage", choices=["train", "release"])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/occlusion/head.pt"))
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop training after so long")
    parser.add_argument("--weights", type=Path, default=Path("engines/zoo/weights/occlusion.onnx"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    try:
        run(arguments)
    except FacesieveError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def run(arguments: argparse.Namespace) -> None:
    """One stage: `release` writes the network and, beside it, its errors on held-out people."""
    recipe = read_recipe(arguments.recipe)
    chips = read_chips([arguments.shared / "data" / name for name in recipe.folders], recipe.held_out)
    if arguments.stage == "train":
        train(chips, recipe, arguments.checkpoint, arguments.minutes * 60)
        return
    head = OcclusionHead(recipe.width)
    head.load_state_dict(read_checkpoint(arguments.checkpoint)["model"])
    export_head(head, (CHIP_PX, CHIP_PX), "chips", "covered", arguments.weights)
    figures = evaluate(head.eval(), chips, recipe)
    arguments.weights.with_suffix(".json").write_text(json.dumps({"held_out": figures}, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
