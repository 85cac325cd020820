"""Routes of cameras."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from ..lane import CameraReport
from .access import Admin, Here, Reader, note
from .models import Camera, CameraName, NewCamera, Reloaded, Trend
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


@router.post("/cameras", status_code=201, responses=answers(400, 401, 403, 409, 413, 422, 429))
def add_camera(web: Here, who: Admin, camera: NewCamera, request: Request) -> Camera:
    """Serve another camera until the service ends or its configuration is read again."""
    if camera.name in web.service.cameras():
        raise Refused(409, f"a camera named {camera.name!r} is served already")
    note(request, who, "camera add", camera.name)
    web.control.add(camera)
    return _found(web, camera.name)


@router.get("/cameras/{name}", responses=answers(401, 403, 404, 422, 429))
def show_camera(web: Here, _who: Reader, name: Name) -> Camera:
    """One camera."""
    return _found(web, name)


@router.delete("/cameras/{name}", status_code=204, responses=answers(401, 403, 404, 422, 429))
def remove_camera(web: Here, who: Admin, name: Name, request: Request) -> Response:
    """Serve it no longer; its tracks end. One of the configuration comes back when that is read again."""
    _found(web, name)
    note(request, who, "camera remove", name)
    web.control.remove(name)
    web.trends.forget(name)
    return Response(status_code=204)


@router.post("/cameras/{name}/pause", responses=answers(401, 403, 404, 422, 429))
def pause_camera(web: Here, who: Admin, name: Name, request: Request) -> Camera:
    """Hang up; its tracks end."""
    _found(web, name)
    note(request, who, "camera pause", name)
    web.service.pause(name)
    return _found(web, name)


@router.post("/cameras/{name}/resume", responses=answers(401, 403, 404, 422, 429))
def resume_camera(web: Here, who: Admin, name: Name, request: Request) -> Camera:
    """Serve a paused camera again."""
    _found(web, name)
    note(request, who, "camera resume", name)
    web.service.resume(name)
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
def snapshot(web: Here, who: Reader, name: Name, request: Request) -> Response:
    """The newest frame that was looked at, with boxes, track numbers and detection scores."""
    _found(web, name)
    look = web.service.look(name)
    if look is None:
        raise Refused(404, "no frame has come yet")
    note(request, who, "snapshot", name, often=True)
    return Response(drawn(look), media_type="image/jpeg")


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


@router.post("/reload", responses=answers(401, 403, 422, 429), tags=["service"])
def reload(web: Here, who: Admin, request: Request) -> Reloaded:
    """Read the configuration again: cameras that did not change keep their tracks, others start anew."""
    note(request, who, "reload", "configuration")
    return web.control.reload()


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
    )
