"""What run.json says of a run besides its results."""

from __future__ import annotations

import dataclasses
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from .build import Built
from .config import Config
from .engines.zoo.fetch import digest
from .outcome import Outcome
from .stream.pipeline import Progress
from .stream.ports import FrameSource

STATED_PACKAGES = ("facesieve", "av", "numpy", "opencv-python-headless", "openvino", "onnxruntime")


def run_facts(
    outcome: Outcome,
    source: FrameSource,
    duration_s: float | None,
    built: Built,
    config: Config,
    progress: Progress,
    elapsed_s: float,
) -> dict[str, Any]:
    """What run.json says. Only here do times of processing and versions appear."""
    return {
        "source": {
            "name": source.name,
            "sha256": _sha256(outcome.spec),
            "duration_s": duration_s,
            "width": progress.size[0] if progress.size else None,
            "height": progress.size[1] if progress.size else None,
            "stills": source.stills,
            "damage": outcome.damage,
        },
        "complete": outcome.exit_code == 0,
        "error": str(outcome.error) if outcome.error else None,
        "interrupted": outcome.interrupted,
        "config": config.model_dump(mode="json"),
        "models": [dataclasses.asdict(model) for model in built.models],
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in STATED_PACKAGES if (version := _version(name))},
        },
        "counts": {
            "frames": progress.frames,
            "frames_detected": progress.detected,
            "faces": progress.faces,
            "faces_scored": progress.scored,
            "faces_assessed": progress.assessed,
            "tracks": progress.tracks,
            "shots": progress.shots,
            "revisions": progress.revisions,
        },
        "timings_s": {
            "total": round(elapsed_s, 3),
            **{stage: round(spent, 3) for stage, spent in progress.stages_s.items()},
        },
        "fps": round(progress.frames / elapsed_s, 2) if elapsed_s > 0 else None,
    }


def _sha256(spec: str) -> str | None:
    """The file's hash, None for folders, globs and pipes."""
    return digest(Path(spec)) if spec != "-" and Path(spec).is_file() else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
