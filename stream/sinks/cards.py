"""One track as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .plot import Axis, bars, quality_over_time
from .records import ShotRecord, TrackRecord, shot_files
from .thumbnails import Sizes, thumbnail
from .words import by_count, clock, count, ending, reason, score, sieve, span, utc


@dataclass(frozen=True, slots=True)
class Look:
    """What all cards of one report share.

    folder: of the results. axis: of all quality plots. points: how many candidates a plot shows.
    stills: pictures are numbered instead of timed.
    """

    folder: Path
    axis: Axis
    sizes: Sizes
    points: int
    stills: bool


def card(track: TrackRecord, shots: Sequence[ShotRecord], look: Look) -> str:
    """A track with shots: pictures on one side, what is known about them on the other."""
    best = shots[0]
    others = "".join(f"<li>{_figure(shot, look, 'other')}</li>" for shot in shots[1:])
    seconds = track.last_pts_s - track.first_pts_s
    plot = "" if look.stills else quality_over_time(track, shots, look.axis, look.points)
    return (
        f'<article class="track" id="track-{track.track}" data-start="{track.first_pts_s:.3f}" '
        f'data-end="{track.last_pts_s:.3f}" data-length="{seconds:.3f}" data-score="{best.score:g}">'
        f'<div class="shots{_crowding(len(shots) - 1)}">{_figure(best, look, "best")}'
        f"{f'<ol>{others}</ol>' if others else ''}</div>"
        f'<div class="facts"><h2>{_title(track)}</h2><p class="when">{_when(track, look.stills)}</p>'
        f"{plot}"
        f'<p class="sieve">{escape(sieve(track.kept, track.frames_seen, track.rejected))}</p>'
        f"{_components(best)}</div></article>\n"
    )


def _crowding(others: int) -> str:
    """How many columns the other shots need beside the best."""
    return "" if others <= 2 else " some" if others <= 4 else " many"


def unkept_row(track: TrackRecord, stills: bool) -> str:
    """A track of which nothing was kept, as a table row."""
    why = ", ".join(f"{reason(code)} {number:,}" for code, number in by_count(track.rejected))
    return (
        f'<tr><th scope="row">{_title(track)}</th><td>{_when(track, stills)}</td>'
        f"<td>{track.frames_seen:,}</td><td>{escape(why)}</td></tr>\n"
    )


def _title(track: TrackRecord) -> str:
    if track.identity is None:
        return f"Track {track.track}"
    return f"Person {track.identity} <small>track {track.track}</small>"


def _when(track: TrackRecord, stills: bool) -> str:
    if stills:
        return count(track.frames_seen, "face")
    seconds = track.last_pts_s - track.first_pts_s
    times = f"{clock(track.first_pts_s)} – {clock(track.last_pts_s)}"
    return f"{times}<span>{span(seconds)}</span><span>{escape(ending(track.end))}</span>"


def _figure(shot: ShotRecord, look: Look, role: str) -> str:
    portrait, chip = shot_files(shot.track, shot.rank)
    name = chip if shot.portrait is None else portrait
    longest = look.sizes.best_px if role == "best" else look.sizes.other_px
    picture = thumbnail(look.folder, name, longest, look.sizes.quality)
    when = f"picture {shot.frame_index + 1}" if look.stills else clock(shot.pts_s)
    wall = "" if shot.wall_s is None else f"<span>{utc(shot.wall_s)}</span>"
    alt = f"Track {shot.track}, shot {shot.rank}, {when}, quality {score(shot.score)}"
    inside = (
        f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}" alt="{alt}" '
        f'loading="lazy" decoding="async">'
        if picture
        else '<span class="gone">picture not in the folder</span>'
    )
    hint = f"{shot.reason}; score {score(shot.score)}; {shot.eye_distance_px:.0f} px between the eyes"
    return (
        f'<figure class="{role}" data-rank="{shot.rank}"><a href="{name}" title="{escape(hint)}">{inside}</a>'
        f"<figcaption><b>{_quality(shot)}</b><span>{when}</span>{wall}</figcaption></figure>"
    )


def _quality(shot: ShotRecord) -> str:
    """The calibrated probability where the model has one, since a raw score says nothing by itself."""
    return score(shot.score) if shot.calibrated is None else f"{100 * shot.calibrated:.0f} %"


def _components(best: ShotRecord) -> str:
    rows = [(name.replace("_", " "), value, f"{value:.2f}") for name, value in best.factors.items()]
    if best.calibrated is not None:
        rows.insert(0, ("recognisable", best.calibrated, f"{best.calibrated:.2f}"))
    return f"<h3>The best shot’s quality</h3>{bars(rows)}" if rows else ""
