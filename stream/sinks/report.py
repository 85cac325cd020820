"""report.html: one page with everything inside it, made from the files of a folder of results."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from string import Template

from .cards import Look, card, unkept_row
from .files import naming, replacing, write_all
from .plot import Axis, bars, presence
from .records import TrackRecord
from .results import Results, Run, read_results
from .thumbnails import Sizes
from .words import by_count, count, reason, span

_PRESENCE_TRACKS = 1500
_PLOT_POINTS = 60_000
_BREAKS = re.compile(r"(?<=[_/\-])(?=\w)|(?=\.\w)")  # where a file name may be broken
_NOTE = (
    "Quality is the model’s own score: it compares faces within this report, not across models. "
    "Pictures here are reduced; each links to its file at full resolution beside this page."
)


def render_report(out: Path) -> Path:
    """Make report.html in out, a folder of results, anew; returns its path.

    It holds no time and no path, so equal results give an equal page. Raises SourceMissing or
    SourceUnreadable where the results cannot be read, OutputUnwritable or OutputFull where the page cannot
    be written.
    """
    results = read_results(out)
    path = out / "report.html"
    with naming(path), replacing(path) as fd:
        for piece in _page(results):
            write_all(fd, piece.encode())
    return path


def _page(results: Results) -> Iterator[str]:
    style, script = _asset("report.css"), _asset("report.js")
    head, foot = _asset("report.html").split("$cards")
    kept = [t for t in results.tracks if t.track in results.shots]
    unkept = [t for t in results.tracks if t.track not in results.shots]
    look = _look(results)
    shown = {
        "style": style,
        "script": script,
        "policy": f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'",
        "name": escape(_name(results)),
        "heading": _BREAKS.sub(r"<wbr>\g<0>", escape(_name(results))),
        "notice": _notice(results.run),
        "facts": _facts(results),
        "overview": _overview(results, look.axis),
        "empty": "" if kept else _empty(results),
        "controls": _controls(kept, look) if len(kept) > 1 else "",
    }
    yield Template(head).substitute(shown)
    for track in kept:
        yield card(results.whole(track.track), results.shots[track.track], look)
    rows = "".join(unkept_row(track, look.stills) for track in unkept)
    table = _unkept(rows, len(unkept), opened=not kept) if rows else ""
    note = f"<footer><p>{_NOTE}</p></footer>" if kept else ""
    yield Template(foot).substitute(shown, unkept=table, note=note)


def _asset(name: str) -> str:
    return package_files(__package__).joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _look(results: Results) -> Look:
    shots = sum(len(kept) for kept in results.shots.values())
    scores = [s.score for kept in results.shots.values() for s in kept]
    timelines = (results.whole(track).timeline.score for track in results.shots)
    for line in timelines:
        known = [value for value in line if value is not None]
        scores += [min(known), max(known)] if known else []
    points = min(240, max(24, _PLOT_POINTS // max(1, len(results.shots))))
    stills = results.run is not None and results.run.source.stills
    return Look(results.folder, Axis.around(scores), Sizes.for_shots(shots), points, stills)


def _name(results: Results) -> str:
    if results.run is not None and results.run.source.name:
        return results.run.source.name
    return results.tracks[0].source if results.tracks else "results"


def _notice(run: Run | None) -> str:
    match run:
        case None:
            text = "This run did not end by itself: what it had finished is shown, more may be missing."
        case Run(error=str(error)):
            text = f"This run failed: {error}. What it had finished until then is shown."
        case Run(interrupted=True):
            text = "This run was interrupted: what it had finished until then is shown."
        case Run(source=source) if source.damage:
            text = f"Only part of the source could be read: {source.damage}"
        case _:
            return ""
    return f'<p class="notice" role="status">{escape(text)}</p>'


def _facts(results: Results) -> str:
    """The figures below the title, as list items."""
    run, tracks = results.run, results.tracks
    people = {t.identity for t in tracks if t.track in results.shots and t.identity is not None}
    shots = sum(len(kept) for kept in results.shots.values())
    models = sorted({shot.model for kept in results.shots.values() for shot in kept})
    facts = [_medium(run)]
    facts += [count(len(people), "person", "people")] if people else []
    facts += [
        count(len(tracks), "track"),
        f"{count(sum(t.frames_seen for t in tracks), 'face')} seen",
        f"{count(shots, 'shot')} kept",
    ]
    facts += [f"scored by {escape(', '.join(models))}"] if models else []
    return "".join(f"<li>{fact}</li>" for fact in facts if fact)


def _medium(run: Run | None) -> str:
    """12.4 s of 1920 × 1080 video."""
    if run is None:
        return ""
    source, frames = run.source, run.counts.frames
    if source.stills:
        return count(frames, "picture") if frames is not None else "pictures"
    size = f"{source.width} × {source.height} " if source.width and source.height else ""
    kind = "live video" if source.live else "video"
    if source.duration_s is not None:
        return f"{span(source.duration_s)} of {size}{kind}"
    return f"{count(frames, 'frame')} of {size}{kind}" if frames is not None else f"{size}{kind}"


def _overview(results: Results, axis: Axis) -> str:
    """When tracks were in view, and what became of all faces."""
    if not results.tracks:
        return ""
    run = results.run
    rejected: Counter[str] = Counter()
    for track in results.tracks:
        rejected.update(track.rejected)
    seen = sum(track.frames_seen for track in results.tracks)
    kept = sum(track.kept for track in results.tracks)
    rows = [("kept", kept / seen if seen else 0.0, f"{kept:,}")]
    rows += [(reason(code), n / seen if seen else 0.0, f"{n:,}") for code, n in by_count(rejected)]
    strip = ""
    if not (run is not None and run.source.stills) and len(results.tracks) <= _PRESENCE_TRACKS:
        known = 0.0 if run is None or run.source.duration_s is None else run.source.duration_s
        end = max(known, *(track.last_pts_s for track in results.tracks))
        best = {track: shots[0].score for track, shots in results.shots.items()}
        strip = presence(results.tracks, best, axis, end)
    return (
        f'<div class="overview">{strip}<section class="sums">'
        f"<h2>What became of {count(seen, 'face')}</h2>{bars(rows)}</section></div>"
    )


def _controls(tracks: Sequence[TrackRecord], look: Look) -> str:
    """Sorting and filters; shown by the script that serves them. Unrelated pictures have no times."""
    first, last = min(t.first_pts_s for t in tracks), max(t.last_pts_s for t in tracks)
    begin, end = f"{first:.3f}", f"{last:.3f}"  # rounded as the cards' own times, so that none is cut off
    longest = f"{max(t.last_pts_s - t.first_pts_s for t in tracks):.3f}"
    low, high = f"{look.axis.low:g}", f"{look.axis.high:g}"
    orders = f'<option value="start">{"order" if look.stills else "time"}</option>'
    orders += '<option value="score">quality</option>'
    ranges = _range("score", "Quality at least", low, high, low)
    if longest != "0.000" and not look.stills:
        orders += '<option value="length">time in view</option>'
        ranges += _range("length", "In view at least", "0", longest, "0")
    if begin != end and not look.stills:
        ranges += _range("from", "From", begin, end, begin) + _range("until", "Until", begin, end, end)
    return (
        f'<details class="controls" hidden><summary>Sort and filter</summary><form>'
        f'<label>Sort by<select name="sort">{orders}</select></label>{ranges}'
        f'<p><output name="shown" aria-live="polite"></output> <button type="button">Show all</button></p>'
        f"</form></details>"
    )


def _range(name: str, label: str, low: str, high: str, value: str) -> str:
    return (
        f'<label><span>{label} <output></output></span><input type="range" name="{name}" min="{low}" '
        f'max="{high}" step="any" value="{value}"></label>'
    )


def _empty(results: Results) -> str:
    """Says what was looked at, so that nothing found can be told from nothing done."""
    run = results.run
    if results.tracks:
        text = "Faces were seen, but none was good enough to keep. Below is what was wrong with them."
        return f'<section class="empty"><h2>No shot was kept</h2><p>{text}</p></section>'
    looked = ""
    if run is not None and run.counts.frames is not None:
        medium = "picture" if run.source.stills else "frame"
        looked = f"{count(run.counts.frames, medium)} read"
        if run.counts.frames_detected is not None:
            by = f" with {name}" if (name := run.model("detection")) else ""
            looked += f", {run.counts.frames_detected:,} of them searched for faces{by}"
        looked += "."
    text = escape(looked) or "It is not known what was looked at: run.json is missing or does not say."
    return f'<section class="empty"><h2>No face was found</h2><p>{text}</p></section>'


def _unkept(rows: str, number: int, *, opened: bool) -> str:
    return (
        f'<details class="unkept"{" open" if opened else ""}><summary>Nothing kept of '
        f'{count(number, "track")}</summary><div class="scroll"><table><thead><tr><th scope="col">Track</th>'
        f'<th scope="col">In view</th><th scope="col">Faces</th><th scope="col">Left out because</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div></details>"
    )
