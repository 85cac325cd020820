"""Requirement profiles: what they read, refuse, fail and say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.components import COMPONENTS, DEGREES, SHIPPED, Profile, Requirement, read_profile
from facesieve.stream.components.profile import parse_profile
from facesieve.stream.errors import ConfigError

GOOD = {**dict.fromkeys(COMPONENTS, 95.0), **dict.fromkeys(DEGREES, 2.0)}
PROFILE = Profile(
    "own",
    (
        Requirement("eyes_open", minimum=50, weight=1),
        Requirement("sharpness", minimum=40, weight=3),
        Requirement("yaw_deg", maximum=20),
    ),
)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_take_a_good_face_and_refuse_a_bad_one(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name
    assert profile.failures(GOOD) == ()
    assert profile.score(GOOD) == pytest.approx(95)
    closed = profile.failures({**GOOD, "eyes_open": 1.0, "yaw_deg": -60.0})
    assert set(closed) == {"eyes_open", "yaw_deg"}


def test_stricter_uses_refuse_more() -> None:
    fair = {**GOOD, "sharpness": 30, "yaw_deg": 25, "inter_eye_distance": 15, "expression_neutrality": 10}
    counts = [len(read_profile(name).failures(fair)) for name in SHIPPED]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[1] < counts[2]


def test_failures_are_worst_first_and_say_what_is_missing() -> None:
    assert PROFILE.failures({"eyes_open": 40, "sharpness": 4, "yaw_deg": -21}) == (
        "sharpness",
        "eyes_open",
        "yaw_deg",
    )
    assert PROFILE.failures({"eyes_open": 50, "sharpness": 40, "yaw_deg": -20}) == ()
    assert PROFILE.failures({"eyes_open": 90, "yaw_deg": 0}) == ("sharpness",), "what is not shown is not met"


def test_the_score_is_the_weighted_mean() -> None:
    assert PROFILE.score({"eyes_open": 100, "sharpness": 20}) == pytest.approx(40)
    assert PROFILE.score({"sharpness": 20}) == pytest.approx(15)
    assert Profile("empty", ()).score({}) == 100


def test_words_for_people() -> None:
    assert PROFILE.words("yaw_deg") == "yaw beyond 20°"
    assert PROFILE.words("eyes_open") == "eyes closed"
    assert PROFILE.words("head_size") == "head_size"
    small = read_profile("enrolment").words("inter_eye_distance")
    assert small == "too small (less than 40 px between the eyes)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sharpnes]\nmin = 3", "did you mean `sharpness`"),
        ("[sharpness]\nleast = 3", "expected a table of min, max, weight"),
        ("sharpness = 3", "expected a table"),
        ("[sharpness]\nmax = 3", "expected min, 0–100"),
        ("[yaw_deg]\nmin = 3", "expected max, degrees either way"),
        ("[yaw_deg]\nmax = 0", "expected a number"),
        ("[sharpness]\nmin = 101", "from 0 to 100, got 101"),
        ("[sharpness]\nmin = true", "expected a number"),
        ("[sharpness]\nweight = -1", "expected a number"),
        ("[yaw_deg]\nmax = 3\nweight = 1", "head_pose_yaw"),
        ("[sharpness", "not valid TOML"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.toml") as refused:
        read_profile(path)
    assert said in str(refused.value)


def test_what_is_no_text_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "film.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"film\.toml: not UTF-8 text"):
        read_profile(tmp_path / "film.toml")
    with pytest.raises(ConfigError, match="the profile cannot be read: Is a directory"):
        read_profile(tmp_path)


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[eyes_open]\nmin = 30\n")
    assert read_profile(str(path)).failures({"eyes_open": 10}) == ("eyes_open",)
    with pytest.raises(ConfigError, match="surveillance"):
        read_profile("surveilance")


@given(
    st.dictionaries(st.sampled_from(COMPONENTS), st.floats(0, 100), min_size=1),
    st.sampled_from(COMPONENTS),
    st.floats(0, 100),
)
def test_a_better_component_never_fails_more(values: dict[str, float], name: str, more: float) -> None:
    profile = parse_profile("\n".join(f"[{c}]\nmin = 50\nweight = 1" for c in COMPONENTS), "all", "all")
    better = {**values, name: max(values.get(name, 0.0), more)}
    assert set(profile.failures(better)) <= set(profile.failures(values))
    assert profile.score(better) >= profile.score(values) - 1e-9
