"""Inline SVG: quality over time, bars, and when each track was in view.

Every drawing is stretched to the width it is given (preserveAspectRatio="none"). What must not be stretched
with it, dots and lines, is drawn as strokes that do not scale; a dot is a line of no length with round ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import median

from .records import ShotRecord, TrackRecord
from .words import clock, reason, score

_WIDE, _HIGH = 1000, 400


@dataclass(frozen=True, slots=True)
class Axis:
    """The values from low to high, low < high."""

    low: float
    high: float

    def at(self, value: float, size: float) -> float:
        """value on [0, size]."""
        return (value - self.low) / (self.high - self.low) * size

    @staticmethod
    def around(values: Sequence[float]) -> Axis:
        """An axis with round ends that holds every value; one value alone still gets some room."""
        low, high = min(values, default=0.0), max(values, default=0.0)
        room = 0.1 * max(abs(low), abs(high)) or 1.0
        if high - low < room:
            low, high = (low, low + room) if low == 0 else (high - room, high)
        step = 10.0 ** math.floor(math.log10(high - low)) / 2
        return Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


@dataclass(frozen=True, slots=True)
class _Point:
    pts_s: float
    score: float
    fate: str | int  # the rank of a kept shot, or why it was not kept


def quality_over_time(track: TrackRecord, shots: Sequence[ShotRecord], axis: Axis, limit: int) -> str:
    """The track's scored candidates, at most about limit of them, with the kept ones marked.

    "" where there is no course to show (fewer than two moments).
    """
    points = _points(track, shots, limit)
    if len(points) < 2 or points[-1].pts_s <= points[0].pts_s:
        return ""
    times = Axis(points[0].pts_s, points[-1].pts_s)

    def place(point: _Point) -> str:
        return f"{times.at(point.pts_s, _WIDE):.1f} {_HIGH - axis.at(point.score, _HIGH):.1f}"

    kept = [p for p in points if isinstance(p.fate, int)]
    dots = "".join(f"M{place(p)}h0" for p in points if not isinstance(p.fate, int))
    marks = "".join(
        f'<g class="mark" data-rank="{p.fate}"><path class="ring" d="M{place(p)}h0"/>'
        f'<path class="{"heart first" if p.fate == 1 else "heart"}" d="M{place(p)}h0"/></g>'
        for p in sorted(kept, key=lambda p: -int(p.fate))
    )
    data = escape(json.dumps([[p.pts_s, p.score, p.fate] for p in points], separators=(",", ":")))
    best = max(points, key=lambda p: p.score)
    return (
        f'<div class="chart"><span class="y">{score(axis.high)}</span>'
        f'<div class="plot" tabindex="0" role="slider" aria-label="Quality over time" aria-valuemin="1" '
        f'aria-valuemax="{len(points)}" aria-valuenow="{points.index(best) + 1}" '
        f'aria-valuetext="{clock(best.pts_s)}, {score(best.score)}" '
        f'data-low="{axis.low:g}" data-high="{axis.high:g}" data-points="{data}">'
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="grid" d="M0 0H{_WIDE}M0 {_HIGH / 2:g}H{_WIDE}M0 {_HIGH}H{_WIDE}"/>'
        f'<path class="line" d="{_line(points, place)}"/><path class="dots" d="{dots}"/>{marks}'
        f'<path class="cursor" d=""/></svg></div><span class="y low">{score(axis.low)}</span>'
        f'<span class="x">{clock(times.low)}</span><output class="readout"></output>'
        f'<span class="x end">{clock(times.high)}</span></div>'
    )


def _points(track: TrackRecord, shots: Sequence[ShotRecord], limit: int) -> list[_Point]:
    """Kept shots, and the timeline without them, thinned to the best of each stretch of candidates."""
    kept = [_Point(s.pts_s, s.score, s.rank) for s in shots]
    taken = {p.pts_s for p in kept}
    line = track.timeline
    rest = [
        _Point(t, s, reason(why or "kept"))
        for t, s, why in zip(line.pts_s, line.score, line.rejected, strict=True)
        if s is not None and t not in taken
    ]
    step = math.ceil(len(rest) / max(1, limit))
    if step > 1:
        rest = [max(rest[i : i + step], key=lambda p: p.score) for i in range(0, len(rest), step)]
    return sorted(kept + rest, key=lambda p: p.pts_s)


def _line(points: Sequence[_Point], place: Callable[[_Point], str]) -> str:
    """Lines between neighbours; broken where the face was out of sight for long."""
    steps = [after.pts_s - before.pts_s for before, after in pairwise(points)]
    far = max(1.0, 6 * median(steps))
    joined = "".join(
        f"{'M' if step > far else 'L'}{place(p)}" for p, step in zip(points[1:], steps, strict=True)
    )
    return f"M{place(points[0])}{joined}"


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """A list of (label, share in [0, 1], value as text), each with a bar as long as its share."""
    items = "".join(
        f"<div><dt>{escape(label)}</dt><dd>"
        f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="1"/>'
        f'<rect class="fill" width="{min(1.0, max(0.0, share)) * 100:.1f}" height="1"/></svg>'
        f"<span>{escape(text)}</span></dd></div>"
        for label, share, text in rows
    )
    return f'<dl class="bars">{items}</dl>'


def presence(tracks: Sequence[TrackRecord], best: dict[int, float], axis: Axis, end_s: float) -> str:
    """When each track was in view, in as few lanes as they fit; stronger where the best is better."""
    start_s = min(0.0, *(t.first_pts_s for t in tracks))
    times = Axis(start_s, max(end_s, start_s + 1e-3))
    gap = (times.high - times.low) / 300
    lanes: list[float] = []
    rects = []
    for track in sorted(tracks, key=lambda t: (t.first_pts_s, t.track)):
        lane = next((i for i, free in enumerate(lanes) if free <= track.first_pts_s), len(lanes))
        last = max(track.last_pts_s, track.first_pts_s + gap)
        lanes[lane : lane + 1] = [last + gap]
        x = times.at(track.first_pts_s, _WIDE)
        share = axis.at(best[track.track], 1.0) if track.track in best else 0.0
        kind = f'class="seen" opacity="{0.35 + 0.65 * share:.2f}"' if track.track in best else 'class="none"'
        title = f"Track {track.track}, {clock(track.first_pts_s)}–{clock(track.last_pts_s)}"
        rect = (
            f'<rect {kind} x="{x:.1f}" y="{lane * 10 + 1}" width="{times.at(last, _WIDE) - x:.1f}" '
            f'height="8"><title>{title}</title></rect>'
        )
        linked = f'<a href="#track-{track.track}" tabindex="-1">{rect}</a>'
        rects.append(linked if track.track in best else rect)
    height = min(len(lanes) * 14, 150)
    return (
        f'<figure class="presence"><svg viewBox="0 0 {_WIDE} {len(lanes) * 10}" height="{height}" '
        f'preserveAspectRatio="none" role="img" aria-label="When each track was in view">'
        f"{''.join(rects)}</svg>"
        f"<figcaption><span>{clock(times.low)}</span><span>tracks in view; a stronger colour is a better "
        f"best shot</span><span>{clock(times.high)}</span></figcaption></figure>"
    )
