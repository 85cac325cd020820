"""When faces are left unscored: the shipped student's bound, and what switches it off."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from facesieve.build import build
from facesieve.config import parse_config


@pytest.mark.parametrize(
    ("changes", "bounded"),
    [
        ({}, True),
        ({"selection": {"skip_hopeless": False}}, False),
        ({"output": {"keep_candidates": True}}, False),
        ({"scorer": {"kind": "analytical"}}, False),
    ],
)
def test_only_the_shipped_student_is_bounded_and_only_where_nobody_wants_all_scores(
    shared: Path, changes: dict[str, Any], bounded: bool
) -> None:
    yunet = {"kind": "yunet", "weights": str(shared / "models/yunet_n_dynamic.onnx")}
    with closing(build(parse_config({"detector": yunet, **changes}, "test"))) as built:
        tasks = [model.task for model in built.models]
        assert ("bound" in tasks) is bounded
