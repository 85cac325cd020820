"""The parts of a pipeline, made by their configuration: networks and what they are fed with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from .build_networks import OWN_LICENCE, ModelFacts, Networks, open_zoo
from .config import (
    AnalyticalConfig,
    BaselineConfig,
    BlazeFaceConfig,
    CenterFaceConfig,
    Config,
    IdentityConfig,
    MediaPipeConfig,
    OpenVinoConfig,
    ScrfdConfig,
    StudentConfig,
    TensorRTConfig,
    YuNetConfig,
)
from .engines.models.blazeface import BlazeFace
from .engines.models.bounds import BoundFacts, ScoreEstimator
from .engines.models.centerface import CenterFace
from .engines.models.eyes import EyeOpening
from .engines.models.facemesh import FaceMesh
from .engines.models.letterbox import FaceSized
from .engines.models.mediapipe import MediaPipeTasks
from .engines.models.occlusion import Occlusion
from .engines.models.recognisers import BGR, KNOWN, PIXELS, OnnxEmbedder, Pixels
from .engines.models.scrfd import Scrfd
from .engines.models.students import Calibration, OnnxScorer, scorer_name
from .engines.models.yunet import YuNet
from .engines.signature import sole_input
from .engines.zoo.fetch import digest
from .engines.zoo.store import Store
from .identify import Linking
from .stream.analytical import AnalyticalScorer
from .stream.bound import TrackBound
from .stream.components import Measured
from .stream.errors import ConfigError, WeightsUnavailable
from .stream.identity.embedding import ScorerEmbedder
from .stream.identity.thresholds import LinkThresholds, VerificationTable
from .stream.ports import Assessor, Detector, Embedder, QualityScorer, ScoreBound
from .stream.slips import SlipLimits

SHIPPED_STUDENT = "facesieve-t"
_BOUND_ROWS = (1, 2, 4)
"""Batch sizes that the estimator of scores is compiled for: it takes a fourth of the time for a known one."""
CONTINUING_SCORE = 0.3
"""Detections below the configured score, down to here, can continue a track but not begin one."""
OTHER_FACE_FMR = 1e-3
"""A chip less similar to its track's earlier ones than one impostor in a thousand is another person's."""
TELLING_QUALITY = 0.15
"""Calibrated: chips below look like nobody, not even like themselves."""


def build_embedder(config: Config, path: Path, pixels: Pixels | None = None) -> Embedder:
    """A face recogniser of one's own, run by the configured engine in fp32; close releases it.

    pixels: what it wants; must be given for a network with a float input that is not known by its hash.
    Raises ConfigError where it is wanted and absent, ModelError or EngineError naming the file.
    """
    if not path.is_file():
        raise WeightsUnavailable(f"{path}: no such file (a recogniser in ONNX)")
    networks = Networks(config, open_zoo(config))
    engine = networks.engine(path, None, exact=True)
    declared, image = engine.inputs[sole_input(engine.inputs, str(path))]
    bgr = False
    if image != np.uint8:
        engine.close()
        wanted = pixels or KNOWN.get(digest(path))
        if wanted is None:
            raise ConfigError(
                f"{path}: an unknown recogniser: say which pixels it wants, one of {', '.join(PIXELS)}"
            )
        PIXELS[wanted].check(declared, str(path))
        engine, bgr = networks.engine(path, PIXELS[wanted], exact=True), wanted in BGR
    return OnnxEmbedder(engine, name=scorer_name(path), bgr=bgr)


class Parts:
    """Makes the parts and remembers their networks; each is closed with the stack."""

    def __init__(self, config: Config, store: Store, stack: ExitStack) -> None:
        self._config, self._store, self._stack = config, store, stack
        self._networks = Networks(config, store)
        self._scorer_path: Path | None = None

    @property
    def models(self) -> list[ModelFacts]:
        """Those in use so far."""
        return self._networks.models

    def detector(self) -> Detector:
        config, networks = self._config.detector, self._networks
        least = min(config.min_score, CONTINUING_SCORE)
        side = config.long_side_px or FaceSized(self._config.selection.min_face_px)
        made: Detector
        match config:
            case CenterFaceConfig():
                engine = networks.engine(networks.weights("centerface", config.weights), CenterFace.PIXELS)
                made = CenterFace(engine, long_side_px=side, min_score=least, nms_iou=config.nms_iou)
            case YuNetConfig():
                engine = networks.engine(networks.weights("yunet", config.weights), YuNet.PIXELS)
                made = YuNet(engine, long_side_px=side, min_score=least, nms_iou=config.nms_iou)
            case ScrfdConfig():
                if config.weights is None:
                    raise WeightsUnavailable(
                        "scrfd: no weights with a stated licence exist, so the zoo has none; "
                        "set detector.weights to a file of your own"
                    )
                engine = networks.engine(networks.weights("scrfd", config.weights), Scrfd.PIXELS)
                made = Scrfd(engine, long_side_px=side, min_score=least, nms_iou=config.nms_iou)
            case BlazeFaceConfig():
                engine = networks.engine(
                    networks.weights("blazeface-full-range", config.weights), BlazeFace.PIXELS
                )
                made = BlazeFace(engine, _mesh(networks), min_score=least, nms_iou=config.nms_iou)
            case MediaPipeConfig():
                weights = networks.weights("mediapipe-full-range", config.weights)
                made = MediaPipeTasks(
                    weights,
                    _mesh(networks),
                    long_side_px=config.long_side_px or 640,
                    min_score=least,
                    nms_iou=config.nms_iou,
                )
        self._stack.callback(made.close)
        return made

    def scorer(self) -> QualityScorer:
        config, networks = self._config.scorer, self._networks
        match config:
            case AnalyticalConfig():
                return AnalyticalScorer()
            case BaselineConfig():
                from .fiqa.baselines import open_baseline  # offline: torch for most of them

                baseline = open_baseline(config.spec)
                self._stack.callback(baseline.close)
                return baseline
            case StudentConfig():
                path = self._scorer_path = networks.weights(SHIPPED_STUDENT, config.weights, task="quality")
                # Only of the shipped student is it known that its ranking holds in bfloat16.
                exact = not networks.is_shipped(path, SHIPPED_STUDENT)
                engine = networks.engine(path, None, exact=exact)
                declared, image = engine.inputs[sole_input(engine.inputs, str(path))]
                if image != np.uint8:  # the authors' exports: let the engine convert the pixels
                    engine.close()
                    OnnxScorer.PIXELS.check(declared, str(path))
                    engine = networks.engine(path, OnnxScorer.PIXELS, exact=exact)
                made = OnnxScorer(
                    engine,
                    name=scorer_name(path, sha256=networks.sha256(path)),
                    max_batch=config.max_batch,
                    calibration=Calibration.beside(path),
                )
                self._stack.callback(made.close)
                return made

    def assessor(self) -> tuple[Assessor, list[ModelFacts]]:
        """What measures quality components, and its networks. They run on OpenVINO whatever the engine: the
        face mesh exists as TensorFlow Lite only."""
        engine = self._config.engine
        cached = not isinstance(engine, OpenVinoConfig) or engine.cache
        on_cpu = self._config.model_copy(update={"engine": OpenVinoConfig(threads=1, cache=cached)})
        networks = Networks(on_cpu, self._store)
        made = Measured(
            _mesh(networks),
            EyeOpening(networks.engine(networks.weights("eye-opening", None, task="quality"), None)),
            Occlusion(networks.engine(networks.weights("occlusion", None, task="quality"), None)),
        )
        self._stack.callback(made.close)
        return made, networks.models

    def new_bound(self, scorer: QualityScorer) -> Callable[[], ScoreBound] | None:
        """What bounds the scorer's scores; None where nothing does, or all faces are to be scored."""
        config, path = self._config, self._scorer_path
        if not config.selection.skip_hopeless or config.output.keep_candidates:
            return None
        if path is None or not isinstance(scorer, OnnxScorer) or isinstance(config.engine, TensorRTConfig):
            return None
        facts = BoundFacts.beside(path, self._networks.sha256(path))
        if facts is None:
            return None
        self.models.append(ModelFacts(facts.weights.stem, "bound", facts.sha256, OWN_LICENCE))
        estimator = ScoreEstimator(self._networks.engine(facts.weights, None, rows=_BOUND_ROWS))
        self._stack.callback(estimator.close)
        return functools.partial(TrackBound, estimator, facts.margin)

    def slips(self, scorer: QualityScorer) -> SlipLimits | None:
        """By what a track that changes faces is noticed; None where the scorer does not tell people apart, or
        nobody has measured from which similarity on."""
        path = self._scorer_path
        if not self._config.tracker.one_face or path is None or not isinstance(scorer, OnnxScorer):
            return None
        table = VerificationTable.beside(path, self._networks.sha256(path)) if scorer.embeds else None
        if table is None or scorer.calibration is None:
            return None
        fmr = min(max(OTHER_FACE_FMR, table.fmr[-1]), table.fmr[0])
        return SlipLimits(table.at(fmr), scorer.calibration.least_raw(TELLING_QUALITY))

    def linking(self, scorer: QualityScorer) -> Linking | None:
        """By what tracks are joined; None where identity is off, or nobody asked and something is missing."""
        config = self._config.identity
        own = isinstance(scorer, OnnxScorer) and scorer.embeds
        asked = config.enabled is True or config.embedder != "student"
        if config.enabled is False or not (own or asked):
            return None
        embedder: Embedder | None = None
        if config.embedder == "student" and own and self._scorer_path is not None:
            path, name = self._scorer_path, scorer.name
        elif config.embedder == "student":
            student = Parts(
                self._config.model_copy(update={"scorer": StudentConfig()}), self._store, self._stack
            )
            embedder = ScorerEmbedder(student.scorer())
            path, name = student.own_scorer, embedder.name
            self.models.extend(student.models)
        else:
            zoo = config.embedder == "sface"
            if zoo and config.threshold is None:  # said before 39 MB are fetched
                raise ConfigError(
                    "sface: nobody has measured its similarities here: set identity.threshold (--threshold)"
                )
            path = self._networks.weights("sface", None if zoo else Path(config.embedder), task="recognition")
            embedder = build_embedder(self._config, path, config.preprocessing)
            self._stack.callback(embedder.close)
            name = embedder.name
        thresholds = _thresholds(config, path, asked=asked)
        return None if thresholds is None else Linking(embedder, name, thresholds)

    @property
    def own_scorer(self) -> Path:
        """The file of the student that scorer() made."""
        if self._scorer_path is None:
            raise ValueError("expected a student to have been made")
        return self._scorer_path


def _mesh(networks: Networks) -> FaceMesh:
    return FaceMesh(networks.engine(networks.weights("face-mesh", None, task="landmarks"), FaceMesh.PIXELS))


def _thresholds(config: IdentityConfig, path: Path, *, asked: bool) -> LinkThresholds | None:
    """The configuration's, else the network's own; None where there is neither and nobody asked."""
    low = config.min_quality
    if config.threshold is not None:
        stay = config.threshold if config.stay_threshold is None else config.stay_threshold
        return LinkThresholds(config.threshold, stay, low or 0.0)
    table = VerificationTable.beside(path, digest(path))
    if table is not None:
        found = table.thresholds(config.fmr)
        stay = found.stay if config.stay_threshold is None else config.stay_threshold
        return replace(found, stay=stay, min_quality=found.min_quality if low is None else low)
    if asked:
        raise ConfigError(
            f"{path}: nobody has measured from which similarity on its embeddings are of one person: set "
            "identity.threshold (--threshold), or measure it as docs/identities.md says"
        )
    return None
