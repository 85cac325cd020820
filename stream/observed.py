"""A selector that someone looks over the shoulder of."""

from __future__ import annotations

from .ports import CandidateSink, Selector
from .types import Crop, Quality, Rejection, TrackEnd, TrackResult


class Observed:
    """A Selector that also tells a sink of every scored candidate and of every track's end."""

    def __init__(self, selector: Selector, candidates: CandidateSink) -> None:
        self._selector = selector
        self._candidates = candidates

    def offer(self, crop: Crop, quality: Quality) -> Rejection | None:
        refused = self._selector.offer(crop, quality)
        self._candidates.offer(crop, quality, refused)
        return refused

    def reject(self, track: int, pts_s: float, reason: Rejection) -> None:
        self._selector.reject(track, pts_s, reason)

    def end(self, track: int, why: TrackEnd) -> TrackResult | None:
        result = self._selector.end(track, why)
        if result is not None:
            self._candidates.settle(result)
        return result
