"""A selector that someone looks over the shoulder of."""

from __future__ import annotations

from collections.abc import Sequence

from .ports import CandidateSink, Selector
from .types import Crop, Quality, Refusal, Rejection, ShotRevision, TrackEnd, TrackResult


class Observed:
    """A Selector that also tells a sink of every scored candidate and of every track's end."""

    def __init__(self, selector: Selector, candidates: CandidateSink) -> None:
        self._selector = selector
        self._candidates = candidates

    def reject(self, track: int, pts_s: float, refusal: Refusal) -> None:
        self._selector.reject(track, pts_s, refusal)

    def admit(self, crop: Crop) -> Rejection | None:
        return self._selector.admit(crop)

    def wants(self, crop: Crop, bound: float) -> bool:
        return self._selector.wants(crop, bound)

    def wants_components(self, crop: Crop, quality: Quality) -> bool:
        return self._selector.wants_components(crop, quality)

    def offer(self, crop: Crop, quality: Quality) -> Rejection | None:
        refused = self._selector.offer(crop, quality)
        self._candidates.offer(crop, quality, refused)
        return refused

    def advance(self, pts_s: float) -> Sequence[TrackResult | ShotRevision]:
        events = self._selector.advance(pts_s)
        for event in events:
            if isinstance(event, TrackResult):
                self._candidates.settle(event)
        return events

    def end(self, track: int, why: TrackEnd) -> TrackResult | None:
        result = self._selector.end(track, why)
        if result is not None:
            self._candidates.settle(result)
        return result
