"""One person as HTML: a tile of the gallery, and what it opens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..components.profile import Profile
from .bars import bars, quality_bars
from .gallery import Gallery, Person, Seen, Shown
from .pictures import Pictures
from .plot import Axis, Stay, lane, quality_over_time
from .records import ShotRecord, TrackRecord
from .results import total
from .words import clock, count, ending, limits_of, score, shortfall, sieve, span, utc

_BEST_PX, _OTHER_PX = 340, 200
_PARTS = 12  # tracks of a person with a plot each
_LANES = 24  # sources of a person with a timeline each
_CHIP = (112, 112)


@dataclass(frozen=True, slots=True)
class Look:
    """What all cards of one report share.

    axis: of all quality plots. points: how many candidates a plot shows. calibrated: whether all shots have
    a calibrated quality, which then orders the cards. limits: the run's requirements in words, by name.
    profile: what shots are held against.
    """

    gallery: Gallery
    pictures: Pictures
    axis: Axis
    points: int
    calibrated: bool
    limits: Mapping[str, str]
    profile: Profile | None

    def scale(self, shot: ShotRecord) -> float:
        """The quality that cards are ordered and filtered by: in per cent where all have it so."""
        known = shot.calibrated if self.calibrated else None
        return shot.score if known is None else 100 * known

    @property
    def several(self) -> bool:
        """Whether the page shows several sources."""
        return len(self.gallery.sources) > 1


class Card:
    """A person with what is known of it, read from the files once."""

    def __init__(self, person: Person, look: Look) -> None:
        self._look, self._person = look, person
        self._tracks = look.gallery.tracks(person)
        self._kept = look.gallery.kept(person)
        self._shots = look.gallery.chosen(person, self._kept)
        for place, shown in enumerate(self._shots, 1):
            look.pictures.begin(*self._picture(place, shown))

    def attributes(self) -> str:
        """The id, and what the page's script sorts and filters by."""
        records = [track for _, track in self._tracks]
        reasons = sorted(total(track.rejected for track in records))
        return (
            f'id="{card_id(self._person)}" data-score="{self._look.scale(self._shots[0].shot):g}" '
            f'data-start="{min(t.first_pts_s for t in records):.3f}" '
            f'data-end="{max(t.last_pts_s for t in records):.3f}" data-length="{self._seconds():.3f}" '
            f'data-tracks="{" ".join(f"{s}:{t}" for s, t in self._person.tracks)}" '
            f'data-reasons="{escape(" ".join(code.replace(" ", "_") for code in reasons))}"'
        )

    def tile(self) -> str:
        """The best shot and who it shows."""
        return f'{self._figure(1)}<header><h2>{self._title()}</h2><p class="when">{self._when()}</p></header>'

    def detail(self) -> str:
        """The other shots, when the person was in view, how its quality went, why the rest was not kept."""
        others = "".join(f"<li>{self._figure(place)}</li>" for place in range(2, len(self._shots) + 1))
        rows = quality_bars(self._shots[0].shot)
        heading = "The best shot’s quality"
        many = " three" if len(rows) > 12 else " two" if len(rows) > 6 else ""
        shown = f"<summary>{heading}</summary>{bars(rows, many)}{self._fitness()}"
        known = f'<details class="quality" open>{shown}</details>' if rows else ""
        crowd = "" if len(self._shots) <= 3 else " many"
        listed = f'<ol class="others{crowd}">{others}</ol>' if others else ""
        return f'{listed}<div class="about">{self._lanes()}{self._sieve()}{self._parts()}</div>{known}'

    def _seconds(self) -> float:
        return sum(track.last_pts_s - track.first_pts_s for _, track in self._tracks)

    def _title(self) -> str:
        if self._person.identity is None:
            return self._track_name(self._person.tracks[0])
        return f"Person {self._person.identity}"

    def _track_name(self, seen: Seen, word: str = "Track") -> str:
        where = f" in {escape(self._look.gallery.sources[seen.source].name)}" if self._look.several else ""
        return f"{word} {seen.track}{f'<small>{where}</small>' if where else ''}"

    def _when(self) -> str:
        (seen, first), *more = self._tracks
        source = self._look.gallery.sources[seen.source]
        faces = sum(track.frames_seen for _, track in self._tracks)
        if source.stills and not more:
            return count(faces, "face")
        if more:
            places = len({seen.source for seen, _ in self._tracks})
            where = f" <span>{count(places, 'source')}</span>" if self._look.several else ""
            if all(self._look.gallery.sources[seen.source].stills for seen, _ in self._tracks):
                return f"{count(len(self._tracks), 'picture')}{where}"
            return f"{count(len(self._tracks), 'track')}{where} <span>{span(self._seconds())} in view</span>"
        named = "" if self._person.identity is None else f" <span>{self._track_name(seen, 'track')}</span>"
        times = f"{clock(first.first_pts_s)} – {clock(first.last_pts_s)}"
        windows = f" <span>{first.window + 1} windows</span>" if first.window else ""
        how = f" <span>{span(self._seconds())}</span>{windows} <span>{escape(ending(first.end))}</span>"
        return f"{times}{how}{named}"

    def _picture(self, place: int, shown: Shown) -> tuple[str, int]:
        """The file that shows the shot at that place, and its longer side on the page, px."""
        portrait, chip = shown.files
        source = self._look.gallery.sources[shown.source]
        name = source.path(chip if shown.shot.portrait is None else portrait)
        return name, _BEST_PX if place == 1 else _OTHER_PX

    def _figure(self, place: int) -> str:
        """The shot at that place, from 1, of the person's shots."""
        shown = self._shots[place - 1]
        shot, source = shown.shot, self._look.gallery.sources[shown.source]
        name, longest_px = self._picture(place, shown)
        size = _CHIP if shot.portrait is None else shot.portrait_size or _CHIP
        picture = self._look.pictures.picture(name, size, longest_px)
        when = f"picture {shot.frame_index + 1}" if source.stills else clock(shot.pts_s)
        wall = "" if shot.wall_s is None else f"<span>{utc(shot.wall_s)}</span>"
        where = f'<span class="where">{escape(source.name)}</span>' if self._look.several else ""
        alt = f"{self._spoken()}, shot {place}, {when}, quality {_quality(shot)}"
        inside = (
            f'<img src="{picture.uri}" width="{picture.width}" height="{picture.height}" alt="{alt}" '
            f'loading="lazy" decoding="async">'
            if picture
            else '<span class="gone">picture not in the folder</span>'
        )
        hint = f"{shot.reason}; score {score(shot.score)}; {shot.eye_distance_px:.0f} px between the eyes"
        return (
            f'<figure class="{"best" if place == 1 else "other"}" data-rank="{place}">'
            f'<a href="{self._look.pictures.link(name)}" title="{escape(hint)}">{inside}</a>'
            f"<figcaption><b>{_quality(shot)}</b><span>{when}</span>{wall}{where}{self._badges(shot)}</figcaption></figure>"
        )

    def _fitness(self) -> str:
        """What the best shot lacks of the profile."""
        profile, best = self._look.profile, self._shots[0].shot
        if profile is None or not best.components:
            return ""
        limits = limits_of(profile)
        lacks = ", ".join(shortfall(name, limits) for name in profile.failures(best.components))
        said = f"Not fit for {profile.name}: {lacks}" if lacks else f"Fit for {profile.name}"
        return f'<p class="fitness">{escape(said)}</p>'

    def _badges(self, shot: ShotRecord) -> str:
        badges = (
            '<span class="badge" title="Good enough to enrol this person">enrol</span>' if shot.enrol else ""
        )
        if shot.unfit:
            lacks = ", ".join(shortfall(name, self._look.limits) for name in shot.unfit)
            hint = "No face of the track met the profile"
            badges += f'<span class="badge unfit" title="{hint}">not fit: {escape(lacks)}</span>'
        profile = self._look.profile
        if profile is not None and shot.components and not profile.failures(shot.components):
            badges += f'<span class="badge" title="Fit for this profile">{escape(profile.name)}</span>'
        return badges

    def _spoken(self) -> str:
        who = self._person
        return f"Person {who.identity}" if who.identity is not None else f"Track {who.tracks[0].track}"

    def _lanes(self) -> str:
        """When the person was in view in each source; a lone track of a lone source has its plot for that."""
        by_source: dict[int, list[Stay]] = {}
        for seen, track in self._tracks:
            by_source.setdefault(seen.source, []).append(stay(track, self._kept.get(seen, ()), self._look))
        if len(self._tracks) < 2 or all(self._look.gallery.sources[s].stills for s in by_source):
            return ""
        sources = [self._look.gallery.sources[s].results for s in by_source]
        long_s = max(1e-3, *(found.end_s - found.begin_s for found in sources))
        rows = []
        for source in list(by_source)[:_LANES]:
            where = self._look.gallery.sources[source]
            name = f'<span class="where">{escape(where.name)}</span>' if self._look.several else ""
            begin_s, end_s = where.results.begin_s, where.results.end_s
            drawn = lane(by_source[source], end_s, Axis(begin_s, begin_s + long_s))
            rows.append(f"<li>{name}{drawn}</li>")
        more = len(by_source) - _LANES
        rest = f"<li>and in {count(more, 'more source', 'more sources')}</li>" if more > 0 else ""
        kind = "lanes named" if self._look.several else "lanes"
        first_s = sources[0].begin_s if len(sources) == 1 else 0.0  # several have a clock each
        return (
            f'<h3>In view</h3><ul class="{kind}">{"".join(rows)}{rest}</ul>'
            f'<p class="{kind} ends">{"<span></span>" if self._look.several else ""}'
            f"<span>{clock(first_s)}</span><span>{clock(first_s + long_s)}</span></p>"
        )

    def _sieve(self) -> str:
        tracks = [track for _, track in self._tracks]
        kept, seen = sum(t.kept for t in tracks), sum(t.frames_seen for t in tracks)
        rejected, failed = total(t.rejected for t in tracks), total(t.failed for t in tracks)
        return f'<p class="sieve">{escape(sieve(kept, seen, rejected, failed, self._look.limits))}</p>'

    def _parts(self) -> str:
        """Quality over time: the only track's, or of each track in its own fold, the best shot's first."""
        if len(self._tracks) == 1:
            return self._plot(*self._tracks[0], "Quality over time")
        order = list(dict.fromkeys(Seen(shown.source, shown.shot.track) for shown in self._shots))
        tracks = sorted(
            self._tracks, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order)
        )
        parts = [self._part(seen, track, opened=not i) for i, (seen, track) in enumerate(tracks[:_PARTS])]
        more = len(tracks) - _PARTS
        rest = f"<p>and {count(more, 'more track')}: see tracks.jsonl</p>" if more > 0 else ""
        return f'<div class="parts">{"".join(parts)}{rest}</div>'

    def _part(self, seen: Seen, track: TrackRecord, *, opened: bool) -> str:
        said = escape(sieve(track.kept, track.frames_seen, track.rejected, track.failed, self._look.limits))
        when = _when_seen(track, stills=self._look.gallery.sources[seen.source].stills)
        plot = self._plot(seen, track, f"Quality over time of track {seen.track}")
        head = f"<summary>{self._track_name(seen)} <span>{when}</span></summary>"
        return f'<details{" open" if opened else ""}>{head}{plot}<p class="sieve">{said}</p></details>'

    def _plot(self, seen: Seen, track: TrackRecord, name: str) -> str:
        """Nothing for pictures, which have no course, and for a track without a shot."""
        if seen not in self._kept or self._look.gallery.sources[seen.source].stills:
            return ""
        places = {(shown.source, _key(shown.shot)): i for i, shown in enumerate(self._shots, 1)}
        kept = [(shot, places.get((seen.source, _key(shot)))) for shot in self._kept[seen]]
        return quality_over_time(track, kept, self._look.axis, self._look.points, name)


def card_id(person: Person) -> str:
    """The id of a person's card: its identity's number, or the place of its track."""
    if person.identity is not None:
        return f"person-{person.identity}"
    source, track = person.tracks[0]
    return f"track-{track}" if source == 0 else f"source-{source}-track-{track}"


def stay(track: TrackRecord, shots: Sequence[ShotRecord], look: Look, card: str = "") -> Stay:
    """The track, with its shots, as a stretch of a timeline."""
    best = max((look.axis.value(shot.score, shot.calibrated) for shot in shots), default=None)
    kept = f"kept {track.kept} of {track.frames_seen}"
    title = f"Track {track.track}, {clock(track.first_pts_s)}–{clock(track.last_pts_s)}, {kept}"
    share = None if best is None else look.axis.at(best, 1.0)
    return Stay(track.first_pts_s, track.last_pts_s, share, title, card)


def unkept_row(seen: Seen, look: Look) -> tuple[str, str]:
    """A track of which nothing was kept, as a table row: its attributes and its cells."""
    source = look.gallery.sources[seen.source]
    track = look.gallery.known[seen]
    said = sieve(track.kept, track.frames_seen, track.rejected, track.failed, look.limits)
    why = said.partition(": ")[2]
    when = _when_seen(track, stills=source.stills)
    reasons = escape(" ".join(code.replace(" ", "_") for code in sorted(track.rejected)))
    where = f"<td>{escape(source.name)}</td>" if look.several else ""
    return (
        f'data-tracks="{seen.source}:{seen.track}" data-reasons="{reasons}"',
        f'<th scope="row">Track {track.track}</th>{where}<td>{when}</td><td>{track.frames_seen:,}</td>'
        f"<td>{escape(why)}</td>",
    )


def _when_seen(track: TrackRecord, *, stills: bool) -> str:
    """The time of a film, the number of a picture: stills come one a second."""
    if stills:
        return f"picture {round(track.first_pts_s) + 1}"
    return f"{clock(track.first_pts_s)} – {clock(track.last_pts_s)}"


def _key(shot: ShotRecord) -> tuple[int, int, int]:
    return shot.track, shot.window, shot.rank


def _quality(shot: ShotRecord) -> str:
    """The calibrated probability where the model has one, since a raw score says nothing by itself."""
    return score(shot.score) if shot.calibrated is None else f"{100 * shot.calibrated:.0f} %"
