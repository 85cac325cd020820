"""Inline SVG: quality over time, and when tracks were in view.

Every drawing is stretched to the width it is given (preserveAspectRatio="none"). What must not be stretched
with it, dots and lines, is drawn as strokes that do not scale; a dot is a line of no length with round ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from .records import ShotRecord, TrackRecord
from .words import clock, reason, score

WIDE = 1000
_HIGH = 400
_ELSEWHERE = "kept, but others of this person are better"

Kept = Sequence[tuple[ShotRecord, int | None]]
"""Shots of a track, and their places on the card, from 1; None where the card does not show it."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The values from low to high, low < high. unit: "%" for calibrated quality, "" for raw scores."""

    low: float
    high: float
    unit: str = ""

    def value(self, raw: float, calibrated: float | None) -> float:
        """What is drawn of a face."""
        return 100 * calibrated if self.unit and calibrated is not None else raw

    def words(self, value: float) -> str:
        """A value to be read."""
        return f"{value:.0f}\N{NO-BREAK SPACE}%" if self.unit else score(value)

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


class _Point(NamedTuple):
    pts_s: float
    score: float
    fate: str | int  # the place of a shown shot on its card, or what became of it


def quality_over_time(track: TrackRecord, kept: Kept, axis: Axis, limit: int, name: str) -> str:
    """The track's scored candidates, at most about limit of them, with the kept ones marked.

    name: what the plot is called aloud. "" where there is no course to show (fewer than two moments).
    """
    points = _points(track, kept, limit, axis)
    if len(points) < 2 or points[-1].pts_s <= points[0].pts_s:
        return ""
    times = Axis(points[0].pts_s, points[-1].pts_s)

    def place(point: _Point) -> str:
        return f"{times.at(point.pts_s, WIDE):.0f} {_HIGH - axis.at(point.score, _HIGH):.0f}"

    shown = sorted((p for p in points if isinstance(p.fate, int)), key=lambda p: -int(p.fate))
    dots = "".join(f"M{place(p)}h0" for p in points if not isinstance(p.fate, int))
    marks = "".join(
        f'<g class="mark" data-rank="{p.fate}"><path class="ring" d="M{place(p)}h0"/>'
        f'<path class="{"heart first" if p.fate == 1 else "heart"}" d="M{place(p)}h0"/></g>'
        for p in shown
    )
    fates = list(dict.fromkeys(p.fate for p in points if isinstance(p.fate, str)))
    told = (p.fate if isinstance(p.fate, int) else -1 - fates.index(p.fate) for p in points)
    rows = [[round(p.pts_s, 3), float(f"{p.score:.4g}"), n] for p, n in zip(points, told, strict=True)]
    data = json.dumps(rows, separators=(",", ":"))
    best = max(points, key=lambda p: p.score)
    return (
        f'<div class="chart"><span class="y">{axis.words(axis.high)}</span>'
        f'<div class="plot" tabindex="0" role="slider" aria-label="{escape(name)}" aria-valuemin="1" '
        f'aria-valuemax="{len(points)}" aria-valuenow="{points.index(best) + 1}" '
        f'aria-valuetext="{clock(best.pts_s)}, {axis.words(best.score)}" data-unit="{axis.unit}" '
        f'data-points="{data}" '
        f'data-fates="{escape("|".join(fates))}">'
        f'<svg viewBox="0 0 {WIDE} {_HIGH}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="grid" d="M0 0H{WIDE}M0 {_HIGH / 2:g}H{WIDE}M0 {_HIGH}H{WIDE}"/>'
        f'<path class="line" d="{_line(points, place)}"/><path class="dots" d="{dots}"/>{marks}'
        f'<path class="cursor" d=""/></svg></div><span class="y low">{axis.words(axis.low)}</span>'
        f'<span class="x">{clock(times.low)}</span><output class="readout"></output>'
        f'<span class="x end">{clock(times.high)}</span></div>'
    )


def _points(track: TrackRecord, kept: Kept, limit: int, axis: Axis) -> list[_Point]:
    """Kept shots, and the timeline without them, thinned to the best of each stretch of candidates."""
    points = [_Point(s.pts_s, axis.value(s.score, s.calibrated), place or _ELSEWHERE) for s, place in kept]
    taken = {p.pts_s for p in points}
    line = track.timeline
    known = line.calibrated if len(line.calibrated) == len(line.pts_s) else [None] * len(line.pts_s)
    rest = [
        _Point(t, axis.value(s, calibrated), reason(why or "kept"))
        for t, s, why, calibrated in zip(line.pts_s, line.score, line.rejected, known, strict=True)
        if s is not None and t not in taken
    ]
    step = math.ceil(len(rest) / max(1, limit))
    if step > 1:
        rest = [max(rest[i : i + step], key=lambda p: p.score) for i in range(0, len(rest), step)]
    return sorted(points + rest, key=lambda p: p.pts_s)


def _line(points: Sequence[_Point], place: Callable[[_Point], str]) -> str:
    """Lines between neighbours; broken where the face was out of sight for long."""
    steps = [after.pts_s - before.pts_s for before, after in pairwise(points)]
    far = max(1.0, 6 * median(steps))
    joined = "".join(
        f"{'M' if step > far else 'L'}{place(p)}" for p, step in zip(points[1:], steps, strict=True)
    )
    return f"M{place(points[0])}{joined}"


@dataclass(frozen=True, slots=True)
class Stay:
    """A track in view. share: how good its best shot is, in [0, 1]; None where nothing was kept of it. card:
    the id of the card that shows it, "" for none."""

    first_s: float
    last_s: float
    share: float | None
    title: str
    card: str = ""


def presence(stays: Iterable[Stay], begin_s: float, end_s: float) -> str:
    """When each track was in view, in as few lanes as they fit; stronger where the best is better."""
    ordered = sorted(stays, key=lambda stay: stay.first_s)
    times = Axis(begin_s, max(end_s, begin_s + 1e-3))
    gap = (times.high - times.low) / 300
    lanes: list[float] = []
    rects = []
    for stay in ordered:
        lane = next((i for i, free in enumerate(lanes) if free <= stay.first_s), len(lanes))
        lanes[lane : lane + 1] = [max(stay.last_s, stay.first_s + gap) + gap]
        rects.append(_rect(stay, times, lane * 10 + 1, gap))
    height = min(len(lanes) * 14, 150)
    return (
        f'<figure class="presence"><svg viewBox="0 0 {WIDE} {len(lanes) * 10}" height="{height}" '
        f'preserveAspectRatio="none" role="img" aria-label="When each track was in view">'
        f"{''.join(rects)}</svg>"
        f"<figcaption><span>{clock(times.low)}</span><span>tracks in view; a stronger colour is a better "
        f"best shot</span><span>{clock(times.high)}</span></figcaption></figure>"
    )


def lane(stays: Sequence[Stay], end_s: float, times: Axis) -> str:
    """A source up to its end, on an axis that begins where it does, and when a person was in view there."""
    gap = (times.high - times.low) / 150
    rects = "".join(_rect(stay, times, 1, gap) for stay in stays)
    said = escape("; ".join(stay.title for stay in stays[:20]))
    return (
        f'<svg viewBox="0 0 {WIDE} 10" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f'<rect class="rail" y="4" width="{times.at(end_s, WIDE):.1f}" height="2"/>{rects}</svg>'
    )


def _rect(stay: Stay, times: Axis, y: int, least_s: float) -> str:
    x = times.at(stay.first_s, WIDE)
    width = max(times.at(stay.last_s, WIDE) - x, times.at(times.low + least_s, WIDE))
    kind = 'class="none"' if stay.share is None else f'class="seen" opacity="{0.35 + 0.65 * stay.share:.2f}"'
    rect = (
        f'<rect {kind} x="{x:.1f}" y="{y}" width="{width:.1f}" height="8">'
        f"<title>{escape(stay.title)}</title></rect>"
    )
    return f'<a href="#{stay.card}" tabindex="-1">{rect}</a>' if stay.card else rect
