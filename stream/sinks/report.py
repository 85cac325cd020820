"""report.html: one page made from the files of a folder of results, with nothing in it from elsewhere."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from string import Template

from ..components.profile import SHIPPED, Profile, read_profile
from ..errors import ConfigError, OutputUnwritable
from .cards import Card, Look, unkept_row
from .controls import controls
from .files import naming, replacing, write_all
from .gallery import Gallery, read_gallery
from .overview import empty, facts, notices, overview
from .page import content_policy
from .pictures import INSIDE, Pictures
from .plot import Axis
from .results import Run
from .words import count, limits_of

WHOLE, FIRST = 200, 60
"""A page of up to WHOLE people holds them all as HTML; a longer one the first ones, the rest as text that its
script makes HTML of when it is scrolled to."""
_HELPERS = 2  # threads that reduce pictures beside the one that writes
_PLOT_POINTS = 60_000
_MARK = b"facesieve"
_BREAKS = re.compile(r"(?<=[_/\-])(?=\w)|(?=\.\w)")  # where a file name may be broken
_LIMITS = {"max_yaw_deg": "yaw", "max_pitch_deg": "pitch", "max_roll_deg": "roll"}
_NOTE = "Quality is the model’s own: it compares faces within this report, not across models. "
_PERCENT = "In per cent it is how likely the face is to be recognised, as the model was calibrated. "


def render_report(out: Path, profile: Profile | None = None) -> Path:
    """Make report.html in out anew: a folder of results, or one with such folders in it; returns its path.

    It holds no time and no path of the machine, so equal results give an equal page. profile: also say of
    each shot whether it is fit for that. Raises SourceMissing or SourceUnreadable where the results cannot be
    read, ConfigError where there is a profile but no shot was measured, OutputUnwritable (also where the file
    that is there is no report) or OutputFull where the page cannot be written.
    """
    gallery = read_gallery(out)
    if profile is not None and not any(source.results.measured for source in gallery.sources):
        raise ConfigError(
            f"{str(out)!r}: no shot was measured, so none can be held against {profile.name}: run again with "
            "components.enabled"
        )
    path = out / "report.html"
    with naming(path), ThreadPoolExecutor(_HELPERS, "facesieve-report") as helpers:
        _check_ours(path)
        with replacing(path) as fd:
            for piece in _page(gallery, profile, helpers):
                write_all(fd, piece.encode())
    return path


def _check_ours(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(256)
        if start and _MARK not in start:
            raise OutputUnwritable(f"{str(path)!r} was not written by facesieve: it is not overwritten")


def _page(gallery: Gallery, profile: Profile | None, helpers: Executor) -> Iterator[str]:
    style, script = _asset("report.css"), _asset("report.js")
    head, middle, foot = re.split(r"\$(?:cards|rows)\n", _asset("report.html"))
    look = _look(gallery, profile, helpers)
    name = _name(gallery)
    people, unkept = len(gallery.people), len(gallery.unkept)
    shown = {
        "style": style,
        "script": script,
        "policy": content_policy(style, script, pictures=look.pictures.policy),
        "name": escape(name),
        "heading": _BREAKS.sub(r"<wbr>\g<0>", escape(name)),
        "notice": notices(gallery),
        "facts": facts(gallery),
        "overview": overview(look),
        "empty": "" if people else empty(gallery),
        "controls": controls(look) if people + unkept > 1 else "",
        "later": _later(people),
        "unkept": "" if unkept else " hidden",
        "opened": "" if people else " open",
        "tracks": count(unkept, "track"),
        "where": '<th scope="col">Source</th>' if look.several else "",
        "note": f"<footer><p>{_NOTE}{_PERCENT if look.calibrated else ''}{_pictures_note(look)}</p></footer>"
        if people
        else "",
    }
    yield Template(head).substitute(shown)
    whole = people if people <= WHOLE else FIRST
    for i, card in enumerate(_ahead(Card(person, look) for person in gallery.people)):
        if i < whole:
            detail = f'<div class="detail">{card.detail()}</div>'
            yield f'<article class="card" {card.attributes()}>{card.tile()}{detail}</article>\n'
        else:
            yield _text(f'class="card" {card.attributes()}', card.tile()) + _text("", card.detail())
    yield Template(middle).substitute(shown)
    for i, seen in enumerate(gallery.unkept):
        attributes, cells = unkept_row(seen, look)
        yield f"<tr {attributes}>{cells}</tr>\n" if i < WHOLE else _text(attributes, cells)
    yield Template(foot).substitute(shown)


def _ahead(cards: Iterator[Card]) -> Iterator[Card]:
    """The same; each is given when the next are made, so that their pictures are being reduced meanwhile."""
    made: deque[Card] = deque()
    for card in cards:
        made.append(card)
        if len(made) > _HELPERS:
            yield made.popleft()
    yield from made


def _text(attributes: str, html: str) -> str:
    """HTML as text, which costs the browser next to nothing until it is asked for.

    What comes from files is escaped in it and it has no scripts, so it cannot end the element early.
    """
    return f'<script type="text/plain" {attributes}>{html}</script>\n'


def _asset(name: str) -> str:
    return package_files(__package__).joinpath(name).read_text("utf-8")


def _look(gallery: Gallery, profile: Profile | None, helpers: Executor) -> Look:
    sources = gallery.sources
    shots = sum(source.results.shots.number for source in sources)
    percent = all(source.results.courses for source in sources)
    met = [value for source in sources for value in source.results.scores.met]
    axis = Axis(0.0, 100.0, "%") if percent else Axis.around(met)
    points = min(240, max(24, _PLOT_POINTS // max(1, len(gallery.known))))
    calibrated = all(source.results.calibrated for source in sources)
    pictures = Pictures(gallery.folder, inside=shots <= INSIDE, helpers=helpers)
    return Look(gallery, pictures, axis, points, calibrated, _limits(sources[0].results.run), profile)


def _limits(run: Run | None) -> dict[str, str]:
    """What the run required of a face, in words. A profile of the user's own is not looked for: where it lay
    is told by a file, and such paths are not followed."""
    found = run.config.get("selection") if run is not None else None
    if not isinstance(found, dict):
        return {}
    angles = {name: found.get(key) for key, name in _LIMITS.items()}
    limits = {name: f"{name} > {at:g}°" for name, at in angles.items() if isinstance(at, int | float)}
    profile = found.get("profile")
    return limits | limits_of(read_profile(profile)) if profile in SHIPPED else limits


def _name(gallery: Gallery) -> str:
    names = [source.name for source in gallery.sources]
    if len(names) == 1:
        return names[0]
    return f"{names[0]} and {count(len(names) - 1, 'more source', 'more sources')}"


def _later(people: int) -> str:
    if people <= WHOLE:
        return ""
    return f"<noscript><p>Without JavaScript the first {FIRST} of {people:,} are shown.</p></noscript>"


def _pictures_note(look: Look) -> str:
    if look.pictures.inside:
        return "Pictures here are reduced; each links to its file at full resolution beside this page."
    return "There are too many pictures to lie inside this page: it shows the files beside it."
