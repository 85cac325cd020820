"""The head of the report: what was looked at, when tracks were in view, what became of all faces."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .bars import bars, share
from .cards import Look, card_id, stay
from .gallery import Gallery, Source
from .plot import presence
from .results import Run, total
from .words import by_count, count, reason, span

_PRESENCE_TRACKS = 1500
_OPEN_SOURCES = 200
_LOOKED = 10


def facts(gallery: Gallery) -> str:
    """The figures below the title, as list items."""
    tracks, sources = gallery.known.values(), gallery.sources
    people = sum(person.identity is not None for person in gallery.people)
    shots = sum(source.results.shots.number for source in sources)
    models = sorted({model for source in sources for model in source.results.models})
    said = [_medium(sources[0])] if len(sources) == 1 else _media(sources)
    said += [count(people, "person", "people")] if people else []
    said += [
        count(len(tracks), "track"),
        f"{count(sum(t.frames_seen for t in tracks), 'face')} seen",
        f"{count(shots, 'shot')} kept",
    ]
    said += [f"scored by {escape(', '.join(models))}"] if models else []
    return "".join(f"<li>{fact}</li>" for fact in said if fact)


def _medium(source: Source) -> str:
    """12.4 s of 1920 × 1080 video."""
    run = source.results.run
    if run is None:
        return ""
    said, frames = run.source, run.counts.frames
    if said.stills:
        return count(frames, "picture") if frames is not None else "pictures"
    size = f"{said.width} × {said.height} " if said.width and said.height else ""
    kind = "live video" if said.live else "video"
    if source.length_s is not None:
        return f"{span(source.length_s)} of {size}{kind}"
    return f"{count(frames, 'frame')} of {size}{kind}" if frames is not None else f"{size}{kind}"


def _media(sources: Sequence[Source]) -> list[str]:
    length_s = sum(source.length_s or 0.0 for source in sources)
    return [f"{len(sources):,} sources", f"{span(length_s)} of video" if length_s else ""]


def notices(gallery: Gallery) -> str:
    """What keeps the results from being whole."""
    said = []
    for source in gallery.sources:
        if text := _trouble(source.results.run):
            name = f"<b>{escape(source.name)}</b>: " if len(gallery.sources) > 1 else ""
            said.append(f'<p class="notice" role="status">{name}{escape(text)}</p>')
    return "".join(said)


def _trouble(run: Run | None) -> str:
    match run:
        case None:
            return "This run did not end by itself: what it had finished is shown, more may be missing."
        case Run(error=str(error)):
            return f"This run failed: {error}. What it had finished until then is shown."
        case Run(interrupted=True):
            return "This run was interrupted: what it had finished until then is shown."
        case Run(source=source) if source.damage:
            return f"Only part of the source could be read: {source.damage}"
    return ""


def overview(look: Look) -> str:
    """When tracks were in view, or which sources there are; and what became of all faces."""
    gallery = look.gallery
    if look.several:
        return f'<div class="overview">{_sources(look)}{_sums(gallery)}</div>'
    if not gallery.known:
        return ""
    (source,) = gallery.sources
    strip = ""
    if not source.stills and len(gallery.known) <= _PRESENCE_TRACKS:
        cards = {seen: card_id(person) for person in gallery.people for seen in person.tracks}
        shots = source.results.shots
        stays = (
            stay(track, shots.get(seen.track, ()), look, cards.get(seen, ""))
            for seen, track in gallery.known.items()
        )
        strip = presence(stays, source.results.begin_s, source.results.end_s)
    return f'<div class="overview">{strip}{_sums(gallery)}</div>'


def _sums(gallery: Gallery) -> str:
    tracks = gallery.known.values()
    rejected = total(track.rejected for track in tracks)
    seen, kept = sum(t.frames_seen for t in tracks), sum(t.kept for t in tracks)
    rows = [share("kept", kept / seen if seen else 0.0, f"{kept:,}")]
    rows += [share(reason(code), n / seen if seen else 0.0, f"{n:,}") for code, n in by_count(rejected)]
    heading = f"What became of {count(seen, 'face')}"
    return f'<section class="sums"><h2>{heading}</h2>{bars(rows)}</section>'


def _sources(look: Look) -> str:
    """A table of the sources, each linked to its own report."""
    people: dict[int, int] = {}
    for person in look.gallery.people:
        for place in {seen.source for seen in person.tracks}:
            people[place] = people.get(place, 0) + (person.identity is not None)
    named = any(people.values())
    rows = "".join(
        _source_row(source, people.get(i, 0) if named else None, look)
        for i, source in enumerate(look.gallery.sources)
    )
    heads = ["Length", *(["People"] if named else []), "Tracks", "Shots"]
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in heads)
    opened = " open" if len(look.gallery.sources) <= _OPEN_SOURCES else ""
    return (
        f'<details class="sources"{opened}><summary>{count(len(look.gallery.sources), "source")}</summary>'
        f'<div class="scroll"><table><thead><tr><th scope="col">Source</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _source_row(source: Source, people: int | None, look: Look) -> str:
    cells = [_length(source), *([] if people is None else [f"{people:,}"])]
    cells += [f"{len(source.results.tracks):,}", f"{source.results.shots.number:,}"]
    name = escape(source.name)
    if (look.gallery.folder / source.path("report.html")).is_file():
        name = f'<a href="{look.pictures.link(source.path("report.html"))}">{name}</a>'
    row = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{name}</th>{row}</tr>'


def _length(source: Source) -> str:
    run = source.results.run
    if run is not None and run.source.stills:
        return count(run.counts.frames, "picture") if run.counts.frames is not None else ""
    return "" if source.length_s is None else span(source.length_s)


def empty(gallery: Gallery) -> str:
    """Says what was looked at, so that nothing found can be told from nothing done."""
    if gallery.known:
        text = "Faces were seen, but none was good enough to keep. Below is what was wrong with them."
        return f'<section class="empty"><h2>No shot was kept</h2><p>{text}</p></section>'
    looked = " ".join(_looked(source.results.run) for source in gallery.sources[:_LOOKED])
    text = escape(looked) or "It is not known what was looked at: run.json is missing or does not say."
    return f'<section class="empty"><h2>No face was found</h2><p>{text}</p></section>'


def _looked(run: Run | None) -> str:
    if run is None or run.counts.frames is None:
        return ""
    looked = f"{count(run.counts.frames, 'picture' if run.source.stills else 'frame')} read"
    if run.counts.frames_detected is not None:
        by = f" with {name}" if (name := run.model("detection")) else ""
        looked += f", {run.counts.frames_detected:,} of them searched for faces{by}"
    return looked + "."
