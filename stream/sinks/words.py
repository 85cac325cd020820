"""Times, counts and reasons in words for the report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

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
    "scene_cut": "ended by a cut",
    "end_of_source": "seen to the end",
    "shutdown": "run was stopped",
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


def sieve(kept: int, seen: int, rejected: Mapping[str, int]) -> str:
    """Kept 3 of 41: too small 29, turned away 9. The most frequent reason comes first."""
    parts = ", ".join(f"{reason(code)} {number:,}" for code, number in by_count(rejected))
    return f"Kept {kept:,} of {seen:,}{': ' if parts else ''}{parts}"


def by_count(rejected: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons, the most frequent first; those that no face fell to are left out."""
    return sorted(((c, n) for c, n in rejected.items() if n), key=lambda pair: (-pair[1], pair[0]))


def score(value: float) -> str:
    """Two decimals where that tells scores apart, more digits for models with small scores."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
