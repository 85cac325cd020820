"""Routes of cameras."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from ..report import CameraReport
from .access import Admin, Here, Reader, note
from .models import Camera, CameraChange, CameraName, NewCamera, Reloaded, Trend
from .parts import Web
from .preview import BOUNDARY, drawn, mjpeg
from .problems import Refused, answers, giving

router = APIRouter(tags=["cameras"])
Name = Annotated[CameraName, Path(description="Of the camera.")]
_JPEG = giving("A JPEG.", "image/jpeg")
_PARTS = giving("JPEGs.", "multipart/x-mixed-replace")


@router.get("/cameras", responses=answers(401, 403, 429))
def list_cameras(web: Here, _who: Reader) -> list[Camera]:
    """All cameras and how they fare."""
    return [_camera(web, name, report) for name, report in web.service.cameras().items()]


@router.post("/cameras", status_code=201, responses=answers(400, 401, 403, 409, 413, 422, 429, 503))
def add_camera(web: Here, who: Admin, camera: NewCamera, request: Request) -> Camera:
    """Serve another camera, also after a restart unless keep is false."""
    if web.control.is_known(camera.name):
        raise Refused(409, f"there is a camera named {camera.name!r}")
    note(request, who, "camera add", camera.name)
    web.control.add(camera)
    return _found(web, camera.name)


@router.get("/cameras/{name}", responses=answers(401, 403, 404, 422, 429))
def show_camera(web: Here, _who: Reader, name: Name) -> Camera:
    """One camera."""
    return _found(web, name)


@router.patch("/cameras/{name}", responses=answers(400, 401, 403, 404, 409, 413, 422, 429, 503))
def change_camera(web: Here, who: Admin, name: Name, change: CameraChange, request: Request) -> Camera:
    """Change a camera that came over the API; its tracks end. The configuration's are changed there."""
    if not web.control.is_added(name):
        _found(web, name)
        raise Refused(409, "it is of the configuration: change it there, and reload")
    note(request, who, "camera change", f"{name}: {', '.join(sorted(change.model_fields_set))}")
    web.control.change(name, change)
    return _found(web, name)


@router.delete("/cameras/{name}", status_code=204, responses=answers(401, 403, 404, 422, 429, 503))
def remove_camera(web: Here, who: Admin, name: Name, request: Request) -> Response:
    """Serve it no longer; its tracks end. One of the configuration can be resumed."""
    _found(web, name)
    note(request, who, "camera remove", name)
    web.control.remove(name)
    web.trends.forget(name)
    return Response(status_code=204)


@router.post("/cameras/{name}/pause", responses=answers(401, 403, 404, 422, 429, 503))
def pause_camera(web: Here, who: Admin, name: Name, request: Request) -> Camera:
    """Hang up until it is resumed, also after a restart; its tracks end."""
    _found(web, name)
    note(request, who, "camera pause", name)
    web.control.pause(name)
    return _found(web, name)


@router.post("/cameras/{name}/resume", responses=answers(401, 403, 404, 422, 429, 503))
def resume_camera(web: Here, who: Admin, name: Name, request: Request) -> Camera:
    """Serve again a camera that was paused, or removed of the configuration."""
    if not web.control.is_known(name):
        raise Refused(404, "no camera of that name")
    note(request, who, "camera resume", name)
    web.control.resume(name)
    return _found(web, name)


@router.get("/cameras/{name}/trend", responses=answers(401, 403, 404, 422, 429))
def trend(web: Here, _who: Reader, name: Name) -> list[Trend]:
    """The last day, oldest first."""
    _found(web, name)
    return [
        Trend(start_s=p.start_s, quality=p.quality, tracks=p.tracks, sharpness=p.sharpness)
        for p in web.trends.points(name)
    ]


@router.get(
    "/cameras/{name}/snapshot.jpg",
    response_class=Response,
    responses=answers(401, 403, 404, 422, 429, 503) | _JPEG,
)
def snapshot(web: Here, who: Reader, name: Name, request: Request, labels: bool = True) -> Response:
    """The newest frame that was looked at, with boxes; labels: and track numbers and detection scores."""
    _found(web, name)
    look = web.service.look(name)
    if look is None:
        raise Refused(404, "no frame has come yet")
    note(request, who, "snapshot", name, often=True)
    return Response(drawn(look, labels=labels), media_type="image/jpeg")


@router.get(
    "/cameras/{name}/preview.mjpeg",
    response_class=StreamingResponse,
    responses=answers(401, 403, 404, 422, 429, 503) | _PARTS,
)
async def preview(web: Here, who: Reader, name: Name, request: Request) -> StreamingResponse:
    """The same as it goes on, at most 5 frames a second, for as long as somebody watches."""
    _found(web, name)
    if not web.limits.previews.acquire(blocking=False):
        raise Refused(503, "too many previews are watched")
    try:
        note(request, who, "preview", name)
    except BaseException:
        web.limits.previews.release()
        raise
    return StreamingResponse(
        _watched(web, name), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}"
    )


@router.post("/reload", responses=answers(401, 403, 422, 429, 503), tags=["service"])
def reload(web: Here, who: Admin, request: Request) -> Reloaded:
    """Read the configuration again: cameras that did not change keep their tracks, others start anew."""
    note(request, who, "reload", "configuration")
    done = web.control.reload()
    for name in done.removed:
        web.trends.forget(name)
    return done


async def _watched(web: Web, name: str) -> AsyncIterator[bytes]:
    try:
        async for part in mjpeg(lambda: web.service.look(name), web.stopping.is_set):
            yield part
    finally:
        web.limits.previews.release()


def _found(web: Web, name: str) -> Camera:
    report = web.service.cameras().get(name)
    if report is None:
        raise Refused(404, "no camera of that name")
    return _camera(web, name, report)


def _camera(web: Web, name: str, report: CameraReport) -> Camera:
    status = report.status
    return Camera(
        name=name,
        state=str(status.state),
        since_s=status.since_s,
        reason=status.reason,
        tries=status.tries,
        sessions=status.sessions,
        frames=status.frames,
        processed=report.processed,
        dropped=report.dropped,
        undecodable=status.undecodable,
        damaged=status.damaged,
        unmatched=status.unmatched,
        last_frame_s=status.last_frame_s,
        width=status.width,
        height=status.height,
        codec=status.codec,
        hz=report.hz,
        degraded=report.degraded,
        faces=report.faces,
        tracks_started=report.tracks_started,
        tracks_ended=report.tracks_ended,
        shots=report.shots,
        errors=report.errors,
        latency_ms=round(1000 * statistics.median(report.latencies_s), 1) if report.latencies_s else None,
        quality=None if report.quality is None else round(report.quality, 4),
        soft=web.trends.is_soft(name),
        over_api=web.control.is_added(name),
        sub_stream=report.sub_stream,
        zones=report.areas.zones,
        masks=report.areas.masks,
    )
