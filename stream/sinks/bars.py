"""Lists of figures, each with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from ..components.assessor import COMPONENTS, DEGREES
from .records import ShotRecord
from .words import component

_HALF_TURN = 90.0  # an angle's bar goes to either side of upright


class Bar(NamedTuple):
    """begin and end: where it is filled, in [0, 1] of its length. text: the figure itself."""

    label: str
    begin: float
    end: float
    text: str


def share(label: str, value: float, text: str) -> Bar:
    """A bar from the left, value in [0, 1] long."""
    return Bar(label, 0.0, value, text)


def bars(rows: Sequence[Bar], kind: str = "") -> str:
    """A list; kind: more class names."""
    items = "".join(
        f"<div><dt>{escape(row.label)}</dt><dd>"
        f'<svg aria-hidden="true">{_fill(row)}</svg><span>{escape(row.text)}</span></dd></div>'
        for row in rows
    )
    return f'<dl class="bars{kind}">{items}</dl>'


def quality_bars(shot: ShotRecord) -> list[Bar]:
    """All that is known of a shot's quality: calibrated score, what the score is made of, components."""
    rows = []
    if shot.calibrated is not None:
        rows.append(share("recognisable", shot.calibrated, f"{100 * shot.calibrated:.0f} %"))
    rows += [share(component(name), value, f"{value:.2f}") for name, value in shot.factors.items()]
    known = {name: i for i, name in enumerate((*COMPONENTS, *DEGREES))}
    ordered = sorted(shot.components.items(), key=lambda pair: (known.get(pair[0], len(known)), pair[0]))
    return rows + [_component(name, value) for name, value in ordered]


def _component(name: str, value: float) -> Bar:
    if not name.endswith("_deg"):
        return share(component(name), value / 100, f"{value:.0f}")
    at = 0.5 + value / (2 * _HALF_TURN)
    text = f"{'−' if round(value) < 0 else ''}{abs(value):.0f}°"
    return Bar(component(name), min(0.5, at), max(0.5, at), text)


def _fill(row: Bar) -> str:
    begin, end = (100 * min(1.0, max(0.0, at)) for at in (row.begin, row.end))
    x = f' x="{begin:.1f}%"' if begin else ""
    return f'<rect{x} width="{end - begin:.1f}%"/>'
