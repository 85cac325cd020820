"""Face recognition models that judge and teach: chips in, unit embeddings out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import openvino
import torch

from ..stream.errors import ModelInvalid, SourceMissing
from ..stream.types import CHIP_PX, F32, U8
from .edc import unit
from .student.dlib_resnet import load_dlib
from .student.resample import DlibChip

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


class Embedder(Protocol):
    """A face recogniser on ArcFace chips."""

    @property
    def name(self) -> str:
        """Short name for tables."""

    def embed(self, chips: U8) -> F32:
        """(n, 112, 112, 3) RGB → (n, d) of unit length."""


class MobileFaceNetFoamliu:
    """foamliu's MobileFaceNet, 128-d: RGB/255 with ImageNet mean and deviation, NCHW, any batch."""

    name = "foamliu"

    def __init__(self, path: Path, batch: int = 32, precision: Literal["f32", "bf16"] = "f32") -> None:
        self._network = compile_onnx(path, batch, precision)
        self._batch = batch

    def embed(self, chips: U8) -> F32:
        rows = []
        for start in range(0, len(chips), self._batch):
            part = chips[start : start + self._batch]
            pixels = (part.astype(np.float32) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
            padded = np.zeros((self._batch, 3, *chips.shape[1:3]), np.float32)
            padded[: len(part)] = pixels.transpose(0, 3, 1, 2)
            rows.append(self._network(padded)[: len(part)].copy())
        return unit(np.concatenate(rows)).astype(np.float32)


class DlibOnChips:
    """dlib's ResNet behind a fixed resampling of the ArcFace chip to dlib's own 150×150 chip.

    Compared by cosine, as everything here, although dlib itself compares by distance.
    """

    name = "dlib"

    def __init__(self, path: Path, batch: int = 32) -> None:
        self._network = load_dlib(path)
        self._chip = DlibChip()
        self._batch = batch

    def embed(self, chips: U8) -> F32:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(chips), self._batch):
                pixels = torch.from_numpy(chips[start : start + self._batch]).permute(0, 3, 1, 2).float()
                rows.append(self._network(self._chip(pixels)).numpy())
        return unit(np.concatenate(rows)).astype(np.float32)


def compile_onnx(path: Path, batch: int, precision: Literal["f32", "bf16"] = "f32") -> Callable[[F32], F32]:
    """The ONNX network (one input (n, 3, 112, 112)) compiled by OpenVINO for a fixed batch.

    A network exported for one image ends in a Reshape to (1, −1): it is widened to the batch.
    """
    if not path.is_file():
        raise SourceMissing(f"expected a recogniser at {path}")
    core = openvino.Core()
    model = core.read_model(path)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelInvalid(
            f"expected one input and one output in {path}, got {len(model.inputs)} and {len(model.outputs)}"
        )
    last = model.outputs[0].get_node().input_value(0).get_node()
    if last.get_type_name() == "Reshape":
        last.input(1).replace_source_output(openvino.opset13.constant([batch, -1], np.int64).output(0))
    model.reshape([batch, 3, CHIP_PX, CHIP_PX])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda pixels: np.asarray(compiled(pixels)[0])
