"""From what pipelines and cameras tell to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..sinks.encode import jpeg
from ..types import BestShot, ShotRevision, TrackEnd, TrackResult
from .events import (
    Box,
    CameraState,
    IdentityUpdated,
    Message,
    Moment,
    Origin,
    Shot,
    ShotFacts,
    TrackEnded,
    TrackStarted,
)
from .reader import CameraStatus


class Narrator:
    """Turns what a pipeline tells about one session of one camera into messages.

    jpeg_quality: of the crops, 1–100. chips: whether the aligned faces go along.
    """

    def __init__(
        self, camera: str, boot: str, session: int, *, jpeg_quality: int = 90, chips: bool = False
    ) -> None:
        self._origin = Origin(camera=camera, boot=boot, session=session)
        self._jpeg_quality, self._chips = jpeg_quality, chips

    @property
    def origin(self) -> Origin:
        """Of every event of the session."""
        return self._origin

    def started(self, track: int, box: Sequence[float], detection_score: float, at: Moment) -> Message:
        """A track's first detection."""
        return Message(
            TrackStarted(
                id=self._id(track, 0, "started"),
                origin=self._origin,
                at=at,
                track=track,
                box=_box(box),
                detection_score=round(detection_score, 4),
            )
        )

    def revised(self, revision: ShotRevision, at: Moment) -> Message:
        """A shot told early."""
        images: dict[str, bytes] = {}
        event = Shot(
            id=self._id(revision.track, revision.window, f"shot-{revision.revision}"),
            origin=self._origin,
            at=at,
            track=revision.track,
            window=revision.window,
            revision=revision.revision,
            why=str(revision.why),
            shot=self._facts(revision.shot, images),
        )
        return Message(event, images)

    def ended(self, result: TrackResult, at: Moment) -> Message:
        """A track, or a window of one, is over."""
        summary, images = result.summary, dict[str, bytes]()
        final = summary.end is not TrackEnd.WINDOW
        event = TrackEnded(
            id=self._id(summary.track, summary.window, "ended" if final else "window"),
            origin=self._origin,
            at=at,
            track=summary.track,
            window=summary.window,
            final=final,
            end="disconnected" if summary.end is TrackEnd.END_OF_SOURCE else str(summary.end),
            first_pts_s=round(summary.first_pts_s, 6),
            last_pts_s=round(summary.last_pts_s, 6),
            frames_seen=summary.frames_seen,
            rejected={str(reason): count for reason, count in summary.rejected.items()},
            identity=summary.identity,
            shots=tuple(self._facts(shot, images) for shot in result.shots),
        )
        return Message(event, images)

    def identified(
        self, identity: int, tracks: int, merged_from: Sequence[int], key: str, at: Moment
    ) -> Message:
        """A person gained a track. key: what made it so, unique within the session."""
        return Message(
            IdentityUpdated(
                id=f"{self._prefix()}/identity-{identity}/{key}",
                origin=self._origin,
                at=at,
                identity=identity,
                tracks=tracks,
                merged_from=tuple(merged_from),
            )
        )

    def _prefix(self) -> str:
        return f"{self._origin.boot}/{self._origin.camera}/{self._origin.session}"

    def _id(self, track: int, window: int, kind: str) -> str:
        return f"{self._prefix()}/{track}/{window}/{kind}"

    def _facts(self, shot: BestShot, images: dict[str, bytes]) -> ShotFacts:
        crop, quality = shot.crop, shot.quality
        image = chip = None
        if crop.portrait is not None:
            image = f"{shot.rank}.jpg"
            images[image] = jpeg(crop.portrait, self._jpeg_quality)
        if self._chips:
            chip = f"{shot.rank}_chip.jpg"
            images[chip] = jpeg(crop.chip, 95)
        return ShotFacts(
            rank=shot.rank,
            pts_s=round(crop.pts_s, 6),
            wall_s=None if crop.wall_s is None else round(crop.wall_s, 3),
            score=float(f"{quality.score:.6g}"),
            calibrated=None if quality.calibrated is None else round(quality.calibrated, 4),
            model=quality.model,
            enrol=shot.enrol,
            unfit=shot.unfit,
            box=_box(crop.box.tolist()),
            eye_distance_px=round(crop.eye_distance_px, 2),
            detection_score=round(crop.detection_score, 4),
            components={name: round(value, 2) for name, value in sorted(quality.components.items())},
            reason=shot.reason,
            image=image,
            chip=chip,
        )


def crashed(last: TrackStarted | Shot, images: Mapping[str, bytes]) -> Message:
    """The terminal event of a track that a crash cut short. last: the newest event of it that was kept."""
    shots = (last.shot,) if isinstance(last, Shot) else ()
    origin = last.origin
    window = last.window if isinstance(last, Shot) else 0
    event = TrackEnded(
        id=f"{origin.boot}/{origin.camera}/{origin.session}/{last.track}/{window}/ended",
        origin=origin,
        at=last.at,
        track=last.track,
        window=window,
        final=True,
        end="crash",
        first_pts_s=shots[0].pts_s if shots else last.at.pts_s,
        last_pts_s=last.at.pts_s,
        frames_seen=None,
        rejected={},
        shots=shots,
    )
    return Message(event, images)


def camera_state(
    status: CameraStatus, boot: str, number: int, *, degraded: bool, monotonic_s: float
) -> Message:
    """A change of a camera's state. number: of the camera's changes in this run, from 1."""
    return Message(
        CameraState(
            id=f"{boot}/{status.camera}/state-{number}",
            origin=Origin(camera=status.camera, boot=boot, session=status.sessions),
            at=Moment(pts_s=0.0, wall_s=round(status.since_s, 3), monotonic_s=round(monotonic_s, 6)),
            state=str(status.state),
            reason=status.reason,
            tries=status.tries,
            degraded=degraded,
        )
    )


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (round(float(v), 2) for v in values)
    return x0, y0, x1, y1
