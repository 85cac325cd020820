"""Times, counts and reasons in words for the report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from ..components.profile import Profile, Requirement

_REASONS = {
    "doubtful": "hardly a face",
    "small": "too small",
    "blurred": "blurred",
    "pose": "turned away",
    "truncated": "cut off by the frame",
    "occluded": "covered",
    "unfit": "below the profile",
    "low_score": "score too low",
    "near_duplicate": "near a better one",
    "short_track": "seen too briefly",
    "outscored": "outscored",
}
_ENDS = {
    "lost": "lost from view",
    "slipped": "ended where another face took over",
    "scene_cut": "ended by a cut",
    "end_of_source": "seen to the end",
    "shutdown": "run was stopped",
    "window": "went on when the run stopped",  # the last window that is there was not the track's last
}
_PARTS = {"pose", "unfit"}  # reasons whose faces are told by the requirements that they failed
_COMPONENTS = {
    "eyes_visible": "eyes uncovered",
    "mouth_occlusion_prevention": "mouth uncovered",
    "face_occlusion_prevention": "face uncovered",
    "over_exposure_prevention": "not too bright",
    "under_exposure_prevention": "not too dark",
    "motion_blur_prevention": "no motion blur",
    "compression_artifacts": "uncompressed",
    "inter_eye_distance": "eye distance",
    "illumination_uniformity": "even light",
    "background_uniformity": "calm background",
    "expression_neutrality": "neutral face",
    "leftward_crop_of_the_face_image": "room at the left",
    "rightward_crop_of_the_face_image": "room at the right",
    "margin_above_of_the_face_image": "room above",
    "margin_below_of_the_face_image": "room below",
}


def reason(code: str) -> str:
    """A rejection in words; one this version does not know is shown as it is written."""
    return _REASONS.get(code, code.replace("_", " "))


def ending(code: str) -> str:
    """Why a track ended, in words."""
    return _ENDS.get(code, code.replace("_", " "))


def clock(seconds: float) -> str:
    """A position in the source: 0:03.2, 12:40.0, 1:02:03.0; before the start with a minus sign."""
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{'−' if seconds < 0 and tenths else ''}{head}:{rest // 10:02}.{rest % 10}"


def span(seconds: float) -> str:
    """A length of time: 0.4 s, 12.0 s, 2 min 5 s, 1 h 3 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def utc(unix_s: float) -> str:
    """Wall clock of a live source."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def count(number: int, one: str, many: str | None = None) -> str:
    """1 track, 1,204 tracks."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def sieve(
    kept: int,
    seen: int,
    rejected: Mapping[str, int],
    failed: Mapping[str, int] = MappingProxyType({}),
    limits: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Kept 0 of 41: too small (29), yaw > 40° (12). The most frequent comes first.

    failed: of the faces that were turned away or below the profile, how many failed each requirement; where
    that is known it stands in the place of those two reasons. limits: the requirements in words, by name.
    """
    parts = {reason(code): number for code, number in rejected.items() if not (failed and code in _PARTS)}
    for name, number in failed.items():
        lack = shortfall(name, limits)
        parts[lack] = parts.get(lack, 0) + number
    text = ", ".join(f"{name} ({number:,})" for name, number in by_count(parts))
    several = sum(failed.values()) > sum(n for code, n in rejected.items() if code in _PARTS)
    more = "; some faces in several ways" if failed and several else ""
    return f"Kept {kept:,} of {seen:,}{': ' if text else ''}{text}{more}"


def shortfall(name: str, limits: Mapping[str, str] = MappingProxyType({})) -> str:
    """What a face lacks that fails the requirement of that name."""
    if name in limits:
        return limits[name]
    if name.removesuffix("_deg") in ("yaw", "pitch", "roll"):
        return f"{component(name)} too large"
    return _brief(Profile("", (Requirement(name),)).words(name))


def limits_of(profile: Profile) -> dict[str, str]:
    """What a face lacks that fails a requirement of the profile, by the requirement's name: yaw > 40°."""
    return {r.component: _brief(profile.words(r.component)) for r in profile.requirements}


def _brief(words: str) -> str:
    return words.partition(" (")[0].replace(" beyond ", " > ")


def component(name: str) -> str:
    """A quality component in words: shorter than its name where that is clumsy, and without its unit."""
    return _COMPONENTS.get(name) or name.removesuffix("_deg").replace("_", " ")


def by_count(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent first; what never occurred is left out."""
    return sorted(((c, n) for c, n in numbers.items() if n), key=lambda pair: (-pair[1], pair[0]))


def score(value: float) -> str:
    """Two decimals where that tells scores apart, more digits for models with small scores."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
