from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.errors import SourceUnreadable
from facesieve.stream.sinks.records import (
    decimals,
    printable,
    read_shots,
    read_tracks,
    records,
    significant,
)
from facesieve.stream.types import Rejection, ScorePoint


def test_lines_read_back_as_they_were_written(tmp_path: Path, make_result) -> None:
    track, shots = records(make_result(3, (0.9, 0.7, 0.5)))
    (tmp_path / "t").write_text(track.line() + "\n")
    (tmp_path / "s").write_text("".join(s.line() + "\n" for s in shots))
    assert list(read_tracks(tmp_path / "t")) == [track]
    assert list(read_shots(tmp_path / "s")) == list(shots)


def test_every_line_states_its_schema_first(make_result) -> None:
    track, shots = records(make_result(3))
    assert track.line().startswith('{"schema":"facesieve.track/1","source":"lobby.mp4","track":3,')
    assert shots[0].line().startswith('{"schema":"facesieve.shot/2","source":"lobby.mp4","track":3,')


def test_counts_add_up_and_reasons_without_a_face_are_left_out(make_result) -> None:
    track, shots = records(make_result(3, (0.9, 0.7)))
    assert track.rejected == {"small": 5, "outscored": 13}
    assert track.kept + sum(track.rejected.values()) == track.frames_seen
    assert len(shots) == track.kept


def test_float32_noise_is_not_written(make_result) -> None:
    _, (shot, _) = records(make_result(1))
    assert shot.box == (10.1, 20.2, 110.3, 145.4)  # 10.1 is 10.1000003… in float32
    assert shot.landmarks[0] == (40.33, 50.33)
    assert '"detection_score":0.9877' in shot.line()


def test_only_live_sources_have_a_wall_clock(make_result) -> None:
    _, (of_file, _) = records(make_result(1))
    _, (live, _) = records(make_result(1, wall_s=1_700_000_000.12345))
    assert "wall_s" not in json.loads(of_file.line())
    assert json.loads(live.line())["wall_s"] == 1_700_000_000.123


def test_embeddings_are_left_out_unless_asked(make_result) -> None:
    _, (without, _) = records(make_result(1))
    _, (with_it, _) = records(make_result(1), embedding=True)
    assert "embedding" not in json.loads(without.line())
    assert json.loads(with_it.line())["embedding"] == [0.5, 0.5, 0.5, 0.5]


def test_a_shot_without_portrait_says_so(make_result) -> None:
    result = make_result(1, (0.5,))
    crop = dataclasses.replace(result.shots[0].crop, portrait=None)
    bare = dataclasses.replace(result, shots=(dataclasses.replace(result.shots[0], crop=crop),))
    fields = json.loads(records(bare)[1][0].line())
    assert (fields["portrait"], fields["portrait_origin"], fields["portrait_size"]) == (None, None, None)
    assert fields["chip"] == "shots/1/1_chip.png"


def test_a_candidate_without_a_finite_score_stays_in_the_timeline_as_null(make_result) -> None:
    result = make_result(1)
    odd = (ScorePoint(0.0, math.nan, Rejection.LOW_SCORE), ScorePoint(0.1, math.inf, Rejection.LOW_SCORE))
    summary = dataclasses.replace(result.summary, timeline=odd)
    line = records(dataclasses.replace(result, summary=summary))[0].line()
    assert json.loads(line)["timeline"]["score"] == [None, None]


def test_a_shot_whose_score_is_not_finite_is_refused(make_result) -> None:
    with pytest.raises(ValueError, match="score"):
        records(make_result(1, (math.nan,)))


def test_order_of_factors_does_not_change_the_line(make_result) -> None:
    result = make_result(1, (0.5,))
    shot = result.shots[0]
    turned = dict(reversed(shot.quality.factors.items()))
    other = dataclasses.replace(shot, quality=dataclasses.replace(shot.quality, factors=turned))
    assert records(result)[1][0].line() == records(dataclasses.replace(result, shots=(other,)))[1][0].line()


@given(st.text())
def test_any_source_name_makes_one_line_of_ascii(name: str) -> None:
    line = json.dumps(printable(name + "\udcff\n\u2028"))
    assert line.isascii()
    assert "\n" not in line
    json.loads(line).encode("utf-8")


@given(st.floats(-1e6, 1e6, width=32))
def test_rounding_keeps_float32_to_six_digits_and_has_no_negative_zero(value: float) -> None:
    assert significant(value) == pytest.approx(value, rel=5e-6, abs=1e-45)
    assert decimals(value, 2) == pytest.approx(value, abs=0.0051)
    for rounded in (significant(value), decimals(value, 2), decimals(np.float32(value), 2)):
        assert type(rounded) is float
        assert rounded != 0 or math.copysign(1, rounded) == 1


def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path: Path, make_result) -> None:
    line = records(make_result(1))[0].line()
    (tmp_path / "t").write_text(f"{line}\n{line[:50]}")
    assert len(list(read_tracks(tmp_path / "t"))) == 1


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda line: line.replace("track/1", "track/2"), "schema"),  # written by a later version
        (lambda line: line.replace('"kept":2', '"kept":"two"'), "kept"),
        (lambda line: line[:-20], "JSON"),
    ],
)
def test_a_line_that_is_not_of_version_1_is_named(tmp_path: Path, make_result, spoil, names) -> None:
    line = records(make_result(1))[0].line()
    (tmp_path / "t").write_text(f"{line}\n{spoil(line)}\n")
    with pytest.raises(SourceUnreadable, match=rf"t' line 2: {names}: "):
        list(read_tracks(tmp_path / "t"))


def test_fields_added_later_are_passed_over(tmp_path: Path, make_result) -> None:
    record = records(make_result(1))[0]
    (tmp_path / "t").write_text(record.line()[:-1] + ',"mood":"calm"}\n')
    assert list(read_tracks(tmp_path / "t")) == [record]
