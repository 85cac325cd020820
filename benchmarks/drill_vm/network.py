"""Drills of the network: an RTSP server in a namespace of its own, `tc netem` on the cable to it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from live_servers import Rtsp
from watched import GONE, STEP, Watched, quoted

from facesieve.stream.serve.reader import State

CLIP = Path(__file__).resolve().parent.parent / "out" / "drill_vm" / "clip.ts"
FPS = 10
NAME, OURS, THEIRS = "far", "near0", "far0"
SECONDS = 15.0
SMEARED = 3.0  # mean difference in levels to the nearest picture of the film; undamaged ones are below 1
CONDITIONS = {
    "a clean cable": "",
    "5 % lost": "loss 5%",
    "20 % lost": "loss 20%",
    "delay 100 ± 50 ms": "delay 100ms 50ms",
    "a quarter out of order": "delay 40ms reorder 75% 50%",
    "5 % twice": "duplicate 5%",
    "1 % with a wrong bit": "corrupt 1%",
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def netem(rule: str) -> None:
    """What the cable does from now on, in both directions; "" is nothing."""
    for inside, device in (([], OURS), (["ip", "netns", "exec", NAME], THEIRS)):
        subprocess.run(
            [*inside, "tc", "qdisc", "del", "dev", device, "root"], check=False, capture_output=True
        )
        if rule:
            words = [*inside, "tc", "qdisc", "add", "dev", device, "root", "netem", *rule.split()]
            subprocess.run(words, check=True)


@contextmanager
def far_server() -> Iterator[Rtsp]:
    ip("netns", "add", NAME)
    try:
        ip("link", "add", OURS, "type", "veth", "peer", "name", THEIRS)
        ip("link", "set", THEIRS, "netns", NAME)
        ip("addr", "add", "10.213.0.1/30", "dev", OURS)
        ip("link", "set", OURS, "up")
        ip("-n", NAME, "addr", "add", "10.213.0.2/30", "dev", THEIRS)
        ip("-n", NAME, "link", "set", THEIRS, "up")
        ip("-n", NAME, "link", "set", "lo", "up")
        server = Rtsp(address="10.213.0.2", within=("ip", "netns", "exec", NAME))
        try:
            server.publish("gate", CLIP)
            server.start()
            yield server
        finally:
            server.close()
    finally:
        ip("netns", "del", NAME)


def conditions(transport: Literal["tcp", "udp"]) -> list[dict[str, Any]]:
    """One row for each condition of the cable, all over one camera's life."""
    originals, rows = _originals(), []
    with far_server() as server, Watched(server.url("gate"), rtsp_transport=transport) as camera:
        camera.live()
        for name, rule in CONDITIONS.items():
            netem(rule)
            before, heard, began = camera.status, len(camera.states), time.monotonic()
            seen = len(camera.pictures)
            time.sleep(SECONDS)
            after, took = camera.status, time.monotonic() - began
            away = {reason.split(": ")[-1] for _, state, reason in camera.states[heard:] if state in GONE}
            pictures = camera.pictures[seen:]
            smeared = sum(_distance(picture, originals) > SMEARED for _, picture in pictures)
            gaps = np.diff([began, *(at for at, _ in pictures), began + took])
            netem("")
            again = camera.until("live", lambda: camera.status.state is State.LIVE)
            told = (
                f"{(after.frames - before.frames) / took:.1f} of {FPS} frames a second, longest pause "
                f"{gaps.max():.1f} s, {after.damaged - before.damaged} damaged left out, "
                f"{smeared} of {len(pictures)} smeared, sessions {before.sessions} → {after.sessions}"
            )
            told += f"; {quoted(away)}, live {again:.1f} s after" if away else ""
            ok = len(pictures) > 5 or bool(away)  # who has no frames says so, and comes back
            rows.append({"drill": f"RTSP over {transport.upper()}: {name}", "result": told, "ok": ok})
            time.sleep(2)
    return rows


def blackout(transport: Literal["tcp", "udp"]) -> str:
    """Nothing comes through for a while, without anybody hanging up."""
    with far_server() as server, Watched(server.url("gate"), rtsp_transport=transport) as camera:
        camera.live()
        sessions, heard = camera.status.sessions, len(camera.states)
        netem("loss 100%")
        began = time.monotonic()
        reason = camera.said(State.STALLED, State.LOST, since=heard)
        took = time.monotonic() - began
        time.sleep(5)
        netem("")
        again = camera.live(sessions)
        return f"“{reason.partition(': ')[2]}” after {took:.1f} s; live {again:.1f} s after it is back"


def _originals() -> np.ndarray[Any, Any]:
    """(n, h, w) int16: every picture of the film, as Watched keeps those that come."""
    with av.open(str(CLIP)) as film:
        planes = [frame.to_ndarray()[: frame.height : STEP, ::STEP] for frame in film.decode(video=0)]
    return np.stack(planes).astype(np.int16)


def _distance(picture: np.ndarray[Any, Any], originals: np.ndarray[Any, Any]) -> float:
    """Mean difference in levels to the nearest of the originals."""
    if picture.shape != originals.shape[1:]:
        return 255.0
    return float(np.abs(originals - picture.astype(np.int16)).mean((1, 2)).min())
