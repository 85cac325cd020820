"""Where a TensorRT engine gets its plan: the cache if it holds one that loads here, else a build."""

from __future__ import annotations

import logging
from pathlib import Path

from ..stream.errors import EngineError, EngineUnavailable, ModelInvalid
from . import compiled_cache, onnx_pixels, onnx_wire
from .onnx_wire import model_digest
from .signature import PixelInput
from .tensorrt_builder import build_plan
from .tensorrt_device import Cuda, Plan, tensorrt
from .tensorrt_plans import PlanCache, PlanKey, PlanOptions, timing_key

log = logging.getLogger(__name__)


class PlanSource:
    """One model for one GPU under one set of options, and the folder that keeps its plans.

    Raises ModelInvalid for what is not an ONNX model, EngineUnavailable for a missing package or GPU.
    """

    def __init__(
        self,
        model: Path | bytes,
        pixels: PixelInput | None,
        options: PlanOptions,
        device: int,
        cache_dir: Path | None,
    ) -> None:
        self.label = str(model) if isinstance(model, Path) else f"model of {len(model)} bytes"
        self.options = options
        self._model, self._pixels = model, pixels
        if isinstance(model, Path) and not model.is_file():
            raise ModelInvalid(f"{self.label}: no such file")
        onnx_wire.check(model, self.label)
        self._trt = tensorrt()
        self.cuda = Cuda(device)
        self._gpu = self.cuda.gpu()
        self.key = PlanKey.of(model_digest(model), pixels, options, self._gpu, self._trt.__version__)
        self._cache = None if cache_dir is None else PlanCache(cache_dir)

    def ready(self) -> bool:
        """Whether the cache holds a whole plan under this key."""
        return self._stored()[0] is not None

    def load(self) -> Plan:
        """The stored plan; EngineUnavailable, with what to do, if there is none or TensorRT refuses it."""
        plan, _, why = self._loaded()
        if plan is not None:
            return plan
        raise EngineUnavailable(
            f"{self.label}: no TensorRT plan for device {self.cuda.device}, {self._gpu}: {why}. Build it "
            'first, away from a running pipeline, with TensorRTEngine.build, or say build="now"'
        )

    def load_or_build(self) -> Plan:
        """The stored plan, or a new one, stored for the next time."""
        plan, refused, why = self._loaded()
        if plan is not None:
            return plan
        if self._cache is None:
            return self._open(self._build(why, b"")[0])
        with self._cache.building(self.key):
            built_meanwhile, _ = self._stored()
            if built_meanwhile is not None and built_meanwhile != refused:
                return self._open(built_meanwhile)
            timings = timing_key(self._gpu, self._trt.__version__)
            known = compiled_cache.load(self._cache.folder, timings) or b""
            blob, measured = self._build(why, known)
            self._cache.save(self.key, blob)
            compiled_cache.save(self._cache.folder, timings, measured)
        return self._open(blob)

    def build(self) -> Path:
        """Have a plan in the cache that loads, and say where it lies."""
        if self._cache is None:
            raise EngineUnavailable(f"{self.label}: building a plan needs a cache folder to keep it in")
        self.load_or_build()
        return self._cache.path(self.key)

    def _loaded(self) -> tuple[Plan | None, bytes | None, str]:
        """(plan, None, "") or (None, the stored bytes that TensorRT refuses if any, why there is no plan)."""
        blob, why = self._stored()
        if blob is None:
            return None, None, why
        try:
            return self._open(blob), None, ""
        except EngineError as refused:
            return None, blob, f"TensorRT does not load the stored plan ({refused})"

    def _stored(self) -> tuple[bytes | None, str]:
        return (None, "no cache folder is given") if self._cache is None else self._cache.load(self.key)

    def _open(self, blob: bytes) -> Plan:
        return Plan(self._trt, blob, version_compatible=self.options.version_compatible)

    def _build(self, why: str, timings: bytes) -> tuple[bytes, bytes]:
        log.warning(
            "%s: building a TensorRT plan for %s, which may take minutes: %s", self.label, self._gpu, why
        )
        whole = self._model if isinstance(self._model, bytes) else self._model.read_bytes()
        whole = onnx_pixels.prepared(whole, self._pixels, self.label)
        where = self._model if isinstance(self._model, Path) else None
        return build_plan(self._trt, whole, where, self.label, self.options, timings)
