"""Routes of faces: live events, the newest shots, people. Whoever sees one is written down."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from ..events import track_key
from .access import Admin, Here, Reader, note
from .models import (
    MOST_ID,
    CameraName,
    Erased,
    IdentityId,
    Matches,
    PeoplePage,
    PersonDetail,
    RecentShot,
)
from .parts import Web
from .people import People
from .problems import Refused, answers, giving

router = APIRouter(tags=["faces"])
Seq = Annotated[int, Path(ge=1, le=MOST_ID)]
ImageName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_]{1,32}\.jpg$")]
Limit = Annotated[int, Query(ge=1, le=200)]
_JPEG = giving("A JPEG.", "image/jpeg")
_PICTURE = giving("A picture.", "image/jpeg", "image/png")
_STREAM = giving("Server-sent events.", "text/event-stream")
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/jpeg", "image/png")
        },
    }
}


@router.get("/events", response_class=StreamingResponse, responses=answers(401, 403, 422, 429, 503) | _STREAM)
async def events(
    web: Here, who: Reader, request: Request, last_event_id: Annotated[str, Header(max_length=64)] = ""
) -> StreamingResponse:
    """Events as they happen, each as `facesieve schema` describes it; images are paths on this server.

    Last-Event-ID goes on where a connection broke, as far as the newest 2,048 reach; an event of the type
    `gap` says that some are missing.
    """
    note(request, who, "events", "all cameras")
    return StreamingResponse(web.feed.watch(last_event_id), media_type="text/event-stream")


@router.get("/shots", responses=answers(401, 403, 422, 429))
def newest_shots(
    web: Here, _who: Reader, camera: CameraName | None = None, limit: Limit = 50
) -> list[RecentShot]:
    """The newest shot of each of the newest tracks, newest first."""
    return [
        RecentShot(
            seq=recent.seq,
            key="/".join(map(str, (*track_key(recent.event), recent.event.window))),
            camera=recent.event.origin.camera,
            track=recent.event.track,
            final=recent.event.type == "track_ended" and recent.event.final,
            identity=recent.event.identity if recent.event.type == "track_ended" else None,
            wall_s=recent.shot.wall_s,
            score=recent.shot.score,
            calibrated=recent.shot.calibrated,
            image=f"/api/v1/shots/{recent.seq}/{recent.image}",
        )
        for recent in web.feed.shots(camera=camera, limit=limit)
    ]


@router.get(
    "/shots/{seq}/{image}", response_class=Response, responses=answers(401, 403, 404, 422, 429, 503) | _JPEG
)
def shot_image(web: Here, who: Reader, seq: Seq, image: ImageName, request: Request) -> Response:
    """A picture of an event."""
    data = web.feed.picture(seq, image)
    if data is None:
        raise Refused(404, "no such picture, or no longer")
    note(request, who, "shot", f"{seq}/{image}")
    return Response(data, media_type="image/jpeg")


@router.get("/identities", responses=answers(401, 403, 404, 422, 429, 503))
def list_people(
    web: Here,
    who: Reader,
    request: Request,
    offset: Annotated[int, Query(ge=0, le=MOST_ID)] = 0,
    limit: Limit = 50,
) -> PeoplePage:
    """People, last seen first."""
    people = _people(web)
    note(request, who, "identities", f"{offset}+{limit}", often=True)
    total, found = people.page(offset, limit)
    return PeoplePage(total=total, people=found)


@router.get("/identities/{identity:int}", responses=answers(401, 403, 404, 422, 429, 503))
def show_person(web: Here, who: Reader, identity: IdentityId, request: Request) -> PersonDetail:
    """A person and when it was seen; of one that was merged, who it became."""
    found = _people(web).show(identity)
    if found is None:
        raise Refused(404, f"no identity {identity}")
    note(request, who, "identity", str(identity))
    return found


@router.get(
    "/identities/{identity}/shots/{row}/{window}/{rank}",
    response_class=Response,
    responses=answers(401, 403, 404, 422, 429, 503) | _PICTURE,
)
def person_picture(
    web: Here,
    who: Reader,
    identity: IdentityId,
    row: Seq,
    window: Annotated[int, Path(ge=0, le=MOST_ID)],
    rank: Seq,
    request: Request,
) -> Response:
    """A picture of a person."""
    found = _people(web).picture(identity, row, window, rank)
    if found is None:
        raise Refused(404, "no such picture")
    note(request, who, "identity picture", f"{identity}/{row}/{window}/{rank}")
    return Response(found[0], media_type=found[1])


@router.delete("/identities/{identity:int}", responses=answers(401, 403, 404, 422, 429, 503))
def delete_person(web: Here, who: Admin, identity: IdentityId, request: Request) -> Erased:
    """Forget a person: rows, embeddings, pictures, what is kept of its tracks in memory, and what waits for
    sinks; they are told to forget it by an event identity_deleted."""
    people = _people(web)
    note(request, who, "identity delete", str(identity))
    known = people.known_of(identity)
    if known is None:
        raise Refused(404, f"no identity {identity}")
    # The spool comes first: if its disk takes nothing, nothing has gone and it can be asked again.
    waiting = web.spool.forget(known)
    events = web.feed.forget(known)
    erased = people.delete(identity, time.time(), f"{who.name}: api")
    if erased is None:
        raise Refused(404, f"no identity {identity}")
    if web.following is not None:
        web.following.try_now()  # what came meanwhile goes, too, and receivers are told
    return erased.model_copy(update={"events": events, "waiting": waiting})


@router.post(
    "/identities/search",
    responses=answers(400, 401, 403, 404, 413, 415, 422, 429, 503),
    openapi_extra=_UPLOAD,
)
async def search(web: Here, who: Reader, request: Request, limit: Limit = 5) -> Matches:
    """Who looks like the main face of a picture, nearest first. The picture is not kept."""
    from starlette.concurrency import run_in_threadpool

    people, finder = _people(web), web.finder
    if finder is None:
        raise Refused(404, "people are not kept")
    if request.headers.get("content-type", "").partition(";")[0].strip() not in ("image/jpeg", "image/png"):
        raise Refused(415, "expected a picture as image/jpeg or image/png")
    if not web.limits.searches.spend(who.name):
        raise Refused(429, "too many searches: wait a while", {"Retry-After": "10"})
    data = await request.body()
    note(request, who, "search", f"{len(data)} bytes")
    vector = await run_in_threadpool(finder.find, data)
    if vector is None:
        return Matches(face=False, matches=[])
    return Matches(face=True, matches=await run_in_threadpool(people.nearest, vector, limit))


def _people(web: Web) -> People:
    if web.people is None:
        raise Refused(404, "people are not kept: set identity.enabled in the configuration")
    return web.people
