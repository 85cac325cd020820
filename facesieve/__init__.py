"""facesieve: the best face frames of every person, out of video, in real time.

for shot in facesieve.best_shots("lobby.mp4", top_k=3):
    print(shot.crop.track, shot.crop.pts_s, shot.quality.score)

The names are imported when they are asked for: the command line starts without what a command does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .config import Config, read_config
    from .job import best_shots
    from .stream.errors import FacesieveError
    from .stream.pipeline import Pipeline, Progress
    from .stream.policy import SelectionPolicy
    from .stream.types import (
        BestShot,
        Crop,
        Detections,
        Frame,
        Quality,
        Rejection,
        ShotRevision,
        TrackEnd,
        Tracking,
        TrackResult,
        TrackSummary,
    )

__all__ = [
    "BestShot",
    "Config",
    "Crop",
    "Detections",
    "FacesieveError",
    "Frame",
    "Pipeline",
    "Progress",
    "Quality",
    "Rejection",
    "SelectionPolicy",
    "ShotRevision",
    "TrackEnd",
    "TrackResult",
    "TrackSummary",
    "Tracking",
    "__version__",
    "best_shots",
    "read_config",
]
_ELSEWHERE = {
    "Config": "config",
    "FacesieveError": "stream.errors",
    "Pipeline": "stream.pipeline",
    "Progress": "stream.pipeline",
    "SelectionPolicy": "stream.policy",
    "best_shots": "job",
    "read_config": "config",
}
"""Where the names are that are not in stream.types."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ELSEWHERE.get(name, 'stream.types')}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
