"""From a configuration to a pipeline."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from .build_networks import ModelFacts, check_licences, check_packages, open_zoo
from .build_parts import CONTINUING_SCORE, SHIPPED_STUDENT, Parts, build_embedder
from .config import (
    ByteTrackConfig,
    Config,
    OCSortConfig,
)
from .engines.models.students import OnnxScorer
from .engines.zoo.store import Store
from .identify import Linking
from .stream.components import read_profile
from .stream.gate import gate
from .stream.pipeline import Pipeline
from .stream.policy import SelectionPolicy
from .stream.ports import Assessor, Detector, QualityScorer, Tracker
from .stream.selection import TopKSelector
from .stream.serve.shared import BatchingScorer, SerialAssessor, SharedDetector
from .trackers.bytetrack import ByteTrack
from .trackers.ocsort import OCSort

__all__ = ["SHIPPED_STUDENT", "Built", "ModelFacts", "Sharing", "build", "build_embedder"]

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Built:
    """A pipeline, its shared parts, the networks it uses, and how to release them."""

    pipeline: Pipeline
    detector: Detector
    scorer: QualityScorer
    models: tuple[ModelFacts, ...]
    close: Callable[[], None]
    linking: Linking | None = None
    """By what tracks are joined to people; None where they are not."""
    assessor: Assessor | None = None
    """What measures components; None where nobody asked."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the threads of many live sources share networks. detectors: instances that work at the same time.
    max_batch, max_wait_s: see BatchingScorer. blur_others: see Pipeline."""

    detectors: int
    max_batch: int
    max_wait_s: float
    blur_others: bool = False


def build(config: Config, store: Store | None = None, *, sharing: Sharing | None = None) -> Built:
    """A pipeline of the configuration's parts; missing weights are fetched.

    sharing: makes a pipeline for live sources, which many threads may run at the same time: the cadence is
    the sources' own, and every face is scored. Raises ModelError, EngineError or ConfigError naming the part.
    """
    with ExitStack() as stack:
        store = store or open_zoo(config)
        check_licences(config, store)
        check_packages(config)
        parts = Parts(config, store, stack)
        policy = _policy(config)
        judges = config.components.enabled or policy.judges_components
        assessing = _beside(parts.assessor) if judges else None
        detector, scorer = parts.detector(), parts.scorer()
        linking = parts.linking(scorer)
        slips = parts.slips(scorer)
        new_bound = parts.new_bound(scorer) if sharing is None else None
        if new_bound is not None:
            policy = _in_raw_scores(policy, scorer)
        assessor: Assessor | None = None
        if assessing is not None:
            assessor, measuring = assessing.result()
            parts.models.extend(measuring)
        if sharing is not None:
            others = [parts.detector() for _ in range(sharing.detectors - 1)]
            detector = SharedDetector([detector, *others])
            scorer = BatchingScorer(scorer, max_batch=sharing.max_batch, max_wait_s=sharing.max_wait_s)
            stack.callback(scorer.close)
            assessor = None if assessor is None else SerialAssessor(assessor)
        pipeline = Pipeline(
            detector=detector,
            new_tracker=lambda: _tracker(config),
            scorer=scorer,
            new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
            gate=functools.partial(gate, policy=policy),
            hz=config.detector.hz if sharing is None else 0.0,
            scene_cuts=config.tracker.scene_cuts,
            margin=config.output.margin,
            new_bound=new_bound,
            assessor=assessor,
            ahead=sharing is None,
            enrols=None if assessor is None else read_profile("enrolment").failures,
            slips=slips,
            blur_others=sharing is not None and sharing.blur_others,
        )
        models = tuple(dict.fromkeys(parts.models))
        return Built(pipeline, detector, scorer, models, stack.pop_all().close, linking, assessor)


def _beside(make: Callable[[], Made]) -> Future[Made]:
    """Begun at once in a thread of its own: networks are loaded outside the interpreter, one a core."""
    thread = ThreadPoolExecutor(1, "facesieve-build")
    begun = thread.submit(make)
    thread.shutdown(wait=False)
    return begun


def _tracker(config: Config) -> Tracker:
    least = config.detector.min_score
    match config.tracker:
        case ByteTrackConfig() as byte:
            return ByteTrack(
                high_score=least,
                new_score=least,
                low_score=min(least, CONTINUING_SCORE),
                lost_s=byte.lost_s,
                min_hits=byte.min_hits,
            )
        case OCSortConfig() as observed:
            return OCSort(
                high_score=least, new_score=least, lost_s=observed.lost_s, min_hits=observed.min_hits
            )


def _in_raw_scores(policy: SelectionPolicy, scorer: QualityScorer) -> SelectionPolicy:
    """The same policy, with min_quality said in the scorer's units too, as its bounds are."""
    calibration = scorer.calibration if isinstance(scorer, OnnxScorer) else None
    if calibration is None or policy.min_quality is None:
        return policy
    least = calibration.least_raw(policy.min_quality)
    if policy.min_score is not None:
        least = max(least, policy.min_score)
    return dataclasses.replace(policy, min_score=least) if math.isfinite(least) else policy


def _policy(whole: Config) -> SelectionPolicy:
    config = whole.selection
    return SelectionPolicy(
        # the detector itself reports weaker ones, in single precision
        min_detection=max(0.0, whole.detector.min_score - 1e-6),
        top_k=config.top_k,
        min_gap_s=config.min_gap_ms / 1000,
        min_face_px=config.min_face_px,
        max_yaw_deg=config.max_yaw_deg,
        max_pitch_deg=config.max_pitch_deg,
        max_roll_deg=config.max_roll_deg,
        max_truncated=config.max_truncated,
        min_sharpness=config.min_sharpness,
        max_occlusion=config.max_occlusion,
        fit=None if config.profile is None else read_profile(config.profile).failures,
        prefer_fit=config.prefer_fit,
        min_score=config.min_score,
        min_quality=config.min_quality,
        enrol_min_quality=config.enrol_min_quality,
        min_hits=config.min_hits,
        min_track_s=config.min_track_ms / 1000,
        max_track_s=None if config.max_track_ms is None else config.max_track_ms / 1000,
        diversity=config.diversity,
        diversity_weight=config.diversity_weight,
        emit=config.emit,
        quick_threshold=config.quick_threshold,
        max_wait_s=config.max_wait_ms / 1000,
        silent_s=config.silent_ms / 1000,
    )
