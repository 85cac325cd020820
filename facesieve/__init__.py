"""facesieve: the best face frames of every person, out of video, in real time.

for shot in facesieve.best_shots("lobby.mp4", top_k=3):
    print(shot.crop.track, shot.crop.pts_s, shot.quality.score)
"""

from ._version import __version__
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
