"""Keep the few best shots of each track, with a reason for every face that is not among them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from .analytical import sharpness
from .candidates import Candidate, Candidates, Timeline, ticks
from .diversity import Spread
from .emission import REASONS, Emission
from .errors import ConfigError
from .policy import UNCOVERED, SelectionPolicy
from .types import (
    BestShot,
    Crop,
    Quality,
    Refusal,
    Rejection,
    ShotRevision,
    TrackEnd,
    TrackResult,
    TrackSummary,
)

REMEMBERED_ENDS = 1024
"""Tracks that ended of which a late detection is noticed: the most recent ones, so that memory is bounded."""


@dataclass(slots=True)
class _Window:
    """A live track, or the newest window of one. spare: unfit candidates, as long as there is no fit one and
    the policy wants them then. refused: detections that a test refused, by reason."""

    number: int
    first_s: float
    last_s: float
    candidates: Candidates
    spare: Candidates | None
    emission: Emission
    seen: int = 0
    scored: int = 0
    refused: Counter[Rejection] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    timeline: Timeline = field(default_factory=Timeline)


@dataclass(slots=True)
class _Track:
    """A live track. seen: detections in all its windows."""

    first_s: float
    last_s: float
    window: _Window
    seen: int = 0


class TopKSelector:
    """The k best shots of each track of one source, by a SelectionPolicy. Implements Selector.

    The rule and its bound on memory are those of Candidates. Times of a track are to arrive in order; within
    a bucket of min_gap_s any order gives the same result.

    Short tracks. A LOST track with fewer than min_hits detections, or shorter than min_track_s, is most
    often no face, and gives no shots. A track that was cut short from outside, by a scene cut, the end of
    the source or a shutdown, was not given the time, so both tests are waived: the last face before the end
    of a file is kept if it is a candidate at all. Nor do they apply to stills.

    Windows. The first detection max_track_s or more after a window's first one begins the next window, so
    every detection is in one; a window counts and chooses for itself, but keeps min_gap_s to the shots of the
    one before. min_hits and min_track_s are of the whole track, and waived for a window that ended before it.

    With prefer_fit, as many unfit candidates are held besides until the first fit one comes; they are counted
    as UNFIT unless they become shots in the end. Nothing unfit is told early.
    """

    def __init__(self, policy: SelectionPolicy, *, source: str, stills: bool = False) -> None:
        """source: its name. stills: the frames are unrelated pictures."""
        self._policy = policy
        self._source = source
        self._stills = stills
        spread = Spread(policy.diversity, policy.diversity_weight) if policy.diversity != "none" else None
        self._spread = spread
        self._tracks: dict[int, _Track] = {}
        self._over: list[TrackResult] = []
        self._ended: dict[int, None] = {}

    @property
    def held(self) -> int:
        """Crops in memory now, of all live tracks: for each at most what Candidates says."""
        windows = [track.window for track in self._tracks.values()]
        return sum(len(w.candidates) + (len(w.spare) if w.spare is not None else 0) for w in windows)

    def admit(self, crop: Crop) -> Rejection | None:
        """Why a chip is refused before it is scored, None if it may be scored."""
        least = self._policy.min_sharpness
        if crop.truncated > self._policy.max_truncated:
            refused = Rejection.TRUNCATED
        elif least is not None and sharpness(crop.chip) < least:
            refused = Rejection.BLURRED
        else:
            return None
        self.reject(crop.track, crop.pts_s, Refusal(refused))
        return refused

    def wants(self, crop: Crop, bound: float) -> bool:
        """Whether to score a crop whose score is at most bound.

        False: it could change no shot, told early or in the end, and is counted, as LOW_SCORE, OUTSCORED or
        NEAR_DUPLICATE; don't offer it.
        """
        least = self._policy.min_score
        if least is not None and bound < least:
            self.reject(crop.track, crop.pts_s, Refusal(Rejection.LOW_SCORE))
            return False
        if self._may_matter(crop, bound):
            return True
        self._see(crop.track, crop.pts_s).candidates.pass_over(ticks(crop.pts_s))
        return False

    def wants_components(self, crop: Crop, quality: Quality) -> bool:
        """Whether the components decide about a candidate, so that they are needed before its offer."""
        asked = self._policy.judges_components and not quality.components
        return asked and self._refusal(quality) is None and self._may_matter(crop, quality.score)

    def offer(self, crop: Crop, quality: Quality) -> Rejection | None:
        """A scored candidate, and why it is refused, if it is.

        ConfigError when the policy judges by something that was not measured. Refused, besides by the
        policy's tests: a score that is not finite, as LOW_SCORE.
        """
        if self._policy.emit == "timeliness" and quality.calibrated is None:
            raise ConfigError(
                "selection.emit = 'timeliness' needs a scorer with a calibration for quick_threshold, "
                f"{quality.model!r} has none"
            )
        refused = self._refusal(quality)
        matters = True
        if refused is None and self._policy.judges_components:
            matters = self._may_matter(crop, quality.score)
            refused = self._unfit(quality) if matters else None
        view = self._spread.view(crop, quality) if self._spread is not None else None
        window = self._see(crop.track, crop.pts_s)
        window.scored += 1
        window.timeline.add(crop, quality, refused.reason if refused else None)
        if refused is not None:
            window.refused[refused.reason] += 1
            window.failed.update(refused.failed)
            if refused.reason is Rejection.UNFIT and window.spare is not None:
                window.spare.add(Candidate(crop, quality, ticks(crop.pts_s), view, refused.failed))
            return refused.reason
        if matters:
            window.candidates.add(Candidate(crop, quality, ticks(crop.pts_s), view))
            if len(window.candidates):
                window.spare = None
        else:
            window.candidates.pass_over(ticks(crop.pts_s))
        return None

    def reject(self, track: int, pts_s: float, refusal: Refusal) -> None:
        """A detection of the track that was refused before it was scored."""
        window = self._see(track, pts_s)
        window.refused[refusal.reason] += 1
        window.failed.update(refusal.failed)

    def advance(self, pts_s: float) -> tuple[TrackResult | ShotRevision, ...]:
        """What is to be told at pts_s, when all of its faces were offered: windows that are over, then shots
        that are told early, by track."""
        over, self._over = tuple(self._over), []
        if self._policy.emit == "quality" or self._stills:
            return over
        return (*over, *self._revisions(pts_s))

    def peek(self, track: int) -> tuple[BestShot, ...]:
        """What a live track would give if it were cut short now, best first; () for one not known."""
        known = self._tracks.get(track)
        return self._shots(known.window, _chosen(known.window)) if known else ()

    def end(self, track: int, why: TrackEnd) -> TrackResult | None:
        """The track's terminal event; None if it was never offered or rejected anything, or has ended."""
        known = self._tracks.pop(track, None)
        if known is None:
            return None
        self._ended[track] = None
        if len(self._ended) > REMEMBERED_ENDS:
            del self._ended[next(iter(self._ended))]
        return self._close(track, known, why)[0]

    def _close(self, track: int, known: _Track, why: TrackEnd) -> tuple[TrackResult, tuple[Candidate, ...]]:
        window = known.window
        short = self._is_short(known) and why is TrackEnd.LOST
        chosen = () if short else _chosen(window)
        rejected, failed = window.refused.copy(), window.failed.copy()
        for candidate in chosen:
            rejected[Rejection.UNFIT] -= bool(candidate.unfit)
            failed.subtract(candidate.unfit)
        if short:
            rejected[Rejection.SHORT_TRACK] += window.seen - rejected.total()
        else:
            rejected += window.candidates.lost(chosen)
        summary = TrackSummary(
            source=self._source,
            track=track,
            identity=None,
            first_pts_s=window.first_s,
            last_pts_s=window.last_s,
            frames_seen=window.seen,
            frames_scored=window.scored,
            kept=len(chosen),
            rejected=MappingProxyType({reason: rejected[reason] for reason in Rejection if rejected[reason]}),
            end=why,
            timeline=window.timeline.points(window.candidates, chosen, short=short),
            window=window.number,
            failed=MappingProxyType({name: failed[name] for name in sorted(failed) if failed[name]}),
        )
        return TrackResult(summary, self._shots(window, chosen)), chosen

    def _see(self, track: int, pts_s: float) -> _Window:
        """The window that a detection belongs to, which counts it."""
        if track in self._ended:
            raise ValueError(f"track {track} of {self._source!r} has ended: it cannot be seen at {pts_s} s")
        known = self._tracks.get(track)
        if known is None:
            known = self._tracks[track] = _Track(pts_s, pts_s, self._window(0, pts_s, None))
        elif self._is_over(known.window, pts_s):
            result, chosen = self._close(track, known, TrackEnd.WINDOW)
            self._over.append(result)
            last = max((c.ticks for c in chosen), default=known.window.candidates.after)
            known.window = self._window(known.window.number + 1, pts_s, last)
        window = known.window
        known.first_s, known.last_s = min(known.first_s, pts_s), max(known.last_s, pts_s)
        window.first_s, window.last_s = min(window.first_s, pts_s), max(window.last_s, pts_s)
        known.seen += 1
        window.seen += 1
        return window

    def _window(self, number: int, begun_s: float, after: int | None) -> _Window:
        policy = self._policy
        candidates, spare = (
            Candidates(policy.top_k, policy.min_gap_s, spread=self._spread, after=after) for _ in range(2)
        )
        return _Window(
            number,
            begun_s,
            begun_s,
            candidates,
            spare if policy.prefer_fit else None,
            Emission(policy, begun_s),
        )

    def _is_over(self, window: _Window, pts_s: float) -> bool:
        longest = self._policy.max_track_s
        return longest is not None and ticks(pts_s) - ticks(window.first_s) >= ticks(longest)

    def _may_matter(self, crop: Crop, score: float) -> bool:
        known = self._tracks.get(crop.track)
        if known is None or self._is_over(known.window, crop.pts_s):
            return True
        return known.window.candidates.wants(score, ticks(crop.pts_s))

    def _refusal(self, quality: Quality) -> Refusal | None:
        wanted = self._policy
        low = wanted.min_score is not None and quality.score < wanted.min_score
        if wanted.min_quality is not None and quality.calibrated is not None:
            low = low or quality.calibrated < wanted.min_quality
        return Refusal(Rejection.LOW_SCORE) if low or not math.isfinite(quality.score) else None

    def _unfit(self, quality: Quality) -> Refusal | None:
        wanted, components = self._policy, quality.components
        if wanted.max_occlusion is not None:
            if UNCOVERED not in components:
                raise ConfigError(
                    f"selection.max_occlusion = {wanted.max_occlusion:g} needs the component {UNCOVERED!r}, "
                    f"measured are {sorted(components)}"
                )
            if components[UNCOVERED] < 100 - 100 * wanted.max_occlusion:
                return Refusal(Rejection.OCCLUDED)
        failed = wanted.fit(components) if wanted.fit is not None else ()
        return Refusal(Rejection.UNFIT, failed) if failed else None

    def _is_short(self, track: _Track) -> bool:
        wanted = self._policy
        brief = ticks(track.last_s) - ticks(track.first_s) < ticks(wanted.min_track_s)
        return not self._stills and (track.seen < wanted.min_hits or brief)

    def _revisions(self, pts_s: float) -> Iterator[ShotRevision]:
        for track, known in sorted(self._tracks.items()):
            if self._is_short(known):
                continue
            window = known.window
            best = window.candidates.best()
            why = window.emission.due(best, pts_s)
            if best is not None and why is not None:
                (shot,) = self._shots(window, (best,))
                shot = dataclasses.replace(shot, reason=REASONS[why])
                yield ShotRevision(
                    self._source, track, window.number, window.emission.count, pts_s, shot, why
                )

    def _shots(self, window: _Window, chosen: Sequence[Candidate]) -> tuple[BestShot, ...]:
        best = f"best of {window.scored} scored"
        other = f"next best at {self._policy.min_gap_s:g} s or more from better shots"
        if self._spread is not None:
            other = f"good and unlike the other shots ({self._policy.diversity})"
        return tuple(
            BestShot(
                self._source,
                c.crop,
                c.quality,
                rank,
                (best if rank == 1 else other) + ("; none was fit" if c.unfit else ""),
                self._enrols(c.quality) and not c.unfit,
                c.unfit,
            )
            for rank, c in enumerate(chosen, 1)
        )

    def _enrols(self, quality: Quality) -> bool:
        least = self._policy.enrol_min_quality
        return least is not None and quality.calibrated is not None and quality.calibrated >= least


def _chosen(window: _Window) -> tuple[Candidate, ...]:
    """The shots that the window would give now: of the unfit, where there is none that is fit."""
    chosen = window.candidates.choose()
    return window.spare.choose() if window.spare is not None and not chosen else chosen
