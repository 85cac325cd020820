"""Search, order and filters of the report; shown by the script that serves them."""

from __future__ import annotations

from html import escape

from .cards import Look
from .results import total
from .words import by_count, reason


def controls(look: Look) -> str:
    """A form. Unrelated pictures have no times, scores of several models no common scale."""
    gallery = look.gallery
    people = any(person.identity is not None for person in gallery.people)
    what = "person, track" if people else "track"
    if look.several:
        what += " or source"
    noun = "people" if all(person.identity is not None for person in gallery.people) else "cards"
    noun = noun if people else "tracks"
    filters = [_kept(look), _sources(look), _reasons(look), _quality(look), *_times(look)]
    return (
        f'<form class="controls" role="search" data-noun="{noun}" hidden><div class="bar">'
        f'<label class="find"><span>Find a {what}</span><input type="search" name="find"></label>'
        f'<label><span>Sort by</span><select name="sort">{_orders(look)}</select></label>'
        f'<fieldset><legend>View</legend><label><input type="radio" name="view" value="tiles">tiles</label>'
        f'<label><input type="radio" name="view" value="whole">details</label></fieldset>'
        f'<p><output name="shown" aria-live="polite"></output>'
        f'<button type="reset">Show all</button></p></div>'
        f'<details><summary>Filters</summary><div class="filters">{"".join(filters)}</div></details></form>'
    )


def _orders(look: Look) -> str:
    stills = all(source.stills for source in look.gallery.sources)
    orders = {"start": "order" if stills else "first seen"}
    if _one_scale(look):
        orders["score"] = "best quality"
    if not stills:
        orders["length"] = "longest in view"
    return _options(orders)


def _one_scale(look: Look) -> bool:
    return len({model for source in look.gallery.sources for model in source.results.models}) == 1


def _kept(look: Look) -> str:
    if not (look.gallery.people and look.gallery.unkept):
        return ""
    return _select("kept", "Show", {"": "all", "yes": "those with shots", "no": "those with none kept"})


def _sources(look: Look) -> str:
    if not look.several:
        return ""
    names = {str(i): source.name for i, source in enumerate(look.gallery.sources)}
    return _select("source", "Source", {"": "any", **names})


def _reasons(look: Look) -> str:
    found = total(track.rejected for track in look.gallery.known.values())
    if len(found) < 2:
        return ""
    reasons = {code.replace(" ", "_"): reason(code) for code, _ in by_count(found)}
    return _select("reason", "Some faces were", {"": "any", **reasons})


def _quality(look: Look) -> str:
    if not look.gallery.people or not _one_scale(look):
        return ""
    low, high = (0.0, 100.0) if look.calibrated else (look.axis.low, look.axis.high)
    name = "percent" if look.calibrated else "score"
    return _range(name, "Best shot at least", f"{low:g}", f"{high:g}", f"{low:g}")


def _times(look: Look) -> list[str]:
    """Ends are rounded as the cards' own times, so that none is cut off."""
    tracks = look.gallery.known.values()
    if all(source.stills for source in look.gallery.sources):
        return []
    longest = (
        max(
            sum(
                look.gallery.known[seen].last_pts_s - look.gallery.known[seen].first_pts_s
                for seen in p.tracks
            )
            for p in look.gallery.people
        )
        if look.gallery.people
        else 0.0
    )
    ranges = []
    if f"{longest:.3f}" != "0.000":
        ranges.append(_range("length", "In view at least", "0", f"{longest:.3f}", "0"))
    begin, end = (
        f"{f(times):.3f}"
        for f, times in ((min, [t.first_pts_s for t in tracks]), (max, [t.last_pts_s for t in tracks]))
    )
    if begin != end and not look.several:
        ranges.append(_range("from", "From", begin, end, begin))
        ranges.append(_range("until", "Until", begin, end, end))
    return ranges


def _select(name: str, label: str, options: dict[str, str]) -> str:
    return f'<label><span>{label}</span><select name="{name}">{_options(options)}</select></label>'


def _options(options: dict[str, str]) -> str:
    return "".join(
        f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items()
    )


def _range(name: str, label: str, low: str, high: str, value: str) -> str:
    return (
        f'<label><span>{label} <output></output></span><input type="range" name="{name}" min="{low}" '
        f'max="{high}" step="any" value="{value}"></label>'
    )
