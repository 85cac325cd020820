"""The policy object: what it refuses to be."""

import math

import pytest

from facesieve.stream.errors import ConfigError
from facesieve.stream.policy import SelectionPolicy


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"top_k": 0}, r"selection.top_k: expected a whole number from 1 to 1000, got 0"),
        ({"top_k": 2.5}, "whole number"),
        ({"top_k": None}, "got None"),
        ({"min_gap_s": -0.1}, "min_gap_s"),
        ({"min_gap_s": math.nan}, "min_gap_s"),
        ({"max_truncated": 1.1}, "max_truncated"),
        ({"max_yaw_deg": "40"}, "got '40'"),
        ({"min_hits": True}, "min_hits"),
        ({"diversity": "colour"}, "selection.diversity: expected one of none, time, pose, embedding, got"),
        ({"emit": None}, "selection.emit: expected one of quality, timeliness, realtime, got None"),
        ({"enrol_min_quality": 1.5}, "enrol_min_quality"),
        ({"min_track_s": 2, "max_track_s": 1}, "expected a max_track of at least min_track, 2 s, got 1 s"),
    ],
)
def test_settings_are_checked(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SelectionPolicy(**wrong)  # type: ignore[arg-type]
