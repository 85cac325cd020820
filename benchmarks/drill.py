"""Everything that goes wrong with cameras and receivers, on purpose, against a running service.

    make drill        (python benchmarks/drill.py [--restarts 20] [--away 300] [--only NAME])

Real servers: gst-rtsp-server with FFmpeg as the publisher, Mosquitto, an HTTP receiver. A second camera (a
film, over and over) runs beside each drill: it must not notice. Each drill ends when the camera is live again
or tells what it saw; at the end every track that started has ended exactly once, by event ids. What
needs root (network namespaces for half-open TCP, a small tmpfs for a full disk) is left out, and said so,
where it is not allowed. Writes benchmarks/results/drill.{json,md}.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))
sys.path.insert(0, str(HERE))

from cameras import clip  # noqa: E402
from drill_scene import LIVE_AGAIN_S, Inbox, Scene  # noqa: E402
from live_servers import JumpingCamera, Rtsp, missing  # noqa: E402

RESULTS = HERE / "results"


def restarts(scene: Scene, server: Rtsp, number: int) -> str:
    """The server is killed and started again, over and over."""
    took = []
    for _ in range(number):
        before = scene.sessions
        server.kill()
        scene.lost()
        server.start()
        took.append(scene.live(before))
    return f"{number} times; live again after {max(took):.1f} s at most (limit {LIVE_AGAIN_S:g})"


def silence(scene: Scene, server: Rtsp) -> str:
    """The publisher stops, the server stays: connected, and nothing comes."""
    before = scene.sessions
    server.unpublish("gate")
    scene.lost()
    server.publish("gate", clip(640, 360, 15))
    return f"live again after {scene.live(before):.1f} s"


def resolution(scene: Scene, server: Rtsp) -> str:
    """Another picture size in the middle of the stream."""
    before = scene.sessions
    server.publish("gate", clip(480, 270, 15))
    took = scene.live(before)
    status = scene.serving.service.cameras()["victim"].status
    server.publish("gate", clip(640, 360, 15))
    return f"{status.width}×{status.height} after {took:.1f} s"


def corrupt(scene: Scene, server: Rtsp) -> str:
    """Bits of the stream are flipped for ten seconds."""
    server.publish("gate", clip(640, 360, 15), "-bsf:v", "noise=amount=2000")
    time.sleep(10)
    server.publish("gate", clip(640, 360, 15))
    scene.live(0)
    bad = scene.serving.service.cameras()["victim"].status.undecodable
    return f"live; {bad} packets and frames left out"


def loss(scene: Scene, server: Rtsp) -> str:
    """One packet in twenty is lost on its way."""
    before = scene.serving.service.cameras()["victim"]
    server.lossy("gate", 0.05)
    time.sleep(15)
    after = scene.serving.service.cameras()["victim"]
    server.lossy("gate", 0.0)
    scene.live(0)
    rate = (after.processed - before.processed) / 15
    return (
        f"{rate:.1f} looks a second at 5 % loss, sessions {before.status.sessions} → {after.status.sessions}"
    )


DRILLS: dict[str, Callable[[Scene, Rtsp], str]] = {
    "publisher silent": silence,
    "picture size changes": resolution,
    "corrupt bitstream": corrupt,
    "packets lost": loss,
}


def run(name: str, drill: Callable[[Scene, Rtsp], str]) -> dict[str, Any]:
    """One drill with a service of its own; what was seen."""
    server, inbox = Rtsp(relays=drill is loss), Inbox()
    server.publish("gate", clip(640, 360, 15))
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(server.url("gate"), Path(folder), inbox)
        try:
            with scene.running():
                scene.live()
                told = drill(scene, server)
        finally:
            server.close()
    return _judged(name, told, inbox, scene.worst_silence_s)


def clock_jump() -> dict[str, Any]:
    """A camera whose clock jumps ahead by 500 s every three seconds."""
    camera, inbox = JumpingCamera(jump_s=500.0), Inbox()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(camera.url, Path(folder), inbox)
        try:
            with scene.running():
                scene.live(3, within_s=60)
                status = scene.serving.service.cameras()["victim"].status
        finally:
            camera.close()
    told = f"{status.sessions - 1} jumps, each a new session; connected once, tries {status.tries}"
    return _judged("clock jumps", told, inbox, scene.worst_silence_s)


def receiver_away(seconds: float) -> dict[str, Any]:
    """The HTTP receiver answers 503 for so long; afterwards it has everything."""
    server, inbox = Rtsp(), Inbox()
    server.publish("gate", clip(640, 360, 15))
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(server.url("gate"), Path(folder), inbox)
        try:
            with scene.running() as running:
                scene.live()
                inbox.away = True
                time.sleep(seconds)
                waiting = running.spool.report().waiting["inbox"]
                inbox.away = False
                began = time.monotonic()
                while running.spool.report().waiting["inbox"] > 2:
                    if time.monotonic() - began > 150:  # the next try comes within a minute
                        raise AssertionError(f"{running.spool.report()}")
                    time.sleep(0.1)
                took = time.monotonic() - began
                told = f"{seconds:g} s away, {waiting} events waited, all sent {took:.0f} s after"
        finally:
            server.close()
    return _judged("receiver away", told, inbox, scene.worst_silence_s)


def disk_full() -> dict[str, Any]:
    """The state folder is on a disk of 3 MB that is full for a while."""
    server, inbox = Rtsp(), Inbox()
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "state"
        disk.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], check=False
        ).returncode:
            return {"drill": "disk full", "result": "left out: mounting needs root", "ok": None}
        try:
            server.publish("gate", clip(640, 360, 15))
            server.start()
            scene = Scene(server.url("gate"), Path(folder), inbox)
            with scene.running() as running:
                scene.live()
                inbox.away = True
                (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 4096))
                deadline = time.monotonic() + 60
                while running.spool.report().held < 3 and time.monotonic() < deadline:
                    time.sleep(0.1)
                held = running.spool.report().held
                (disk / "ballast").unlink()
                inbox.away = False
                deadline = time.monotonic() + 60
                while running.spool.report().held and time.monotonic() < deadline:
                    time.sleep(0.1)
                report = running.spool.report()
                lost = report.final_dropped
                told = f"{held} events held in memory, {report.held} after; final ones lost: {lost}"
                if report.held or report.final_dropped or not held:
                    raise AssertionError(told)
        finally:
            server.close()
            subprocess.run(["umount", str(disk)], check=False)
    return _judged("disk full", told, inbox, scene.worst_silence_s)


def half_open() -> dict[str, Any]:
    """The cable is pulled: TCP stays open on our side, and nothing arrives any more."""
    name, inbox = f"drill{os.getpid()}", Inbox()

    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0

    ready = ip("netns", "add", name) and ip(
        "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b"
    )
    if not ready:
        return {"drill": "half-open TCP", "result": "left out: network namespaces need root", "ok": None}
    ip("link", "set", f"{name}b", "netns", name)
    ip("addr", "add", "10.213.0.1/30", "dev", f"{name}a")
    ip("link", "set", f"{name}a", "up")
    ip("-n", name, "addr", "add", "10.213.0.2/30", "dev", f"{name}b")
    ip("-n", name, "link", "set", f"{name}b", "up")
    ip("-n", name, "link", "set", "lo", "up")
    server = Rtsp(address="10.213.0.2", within=("ip", "netns", "exec", name))
    server.publish("gate", clip(640, 360, 15))
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(server.url("gate"), Path(folder), inbox)
        try:
            with scene.running():
                scene.live()
                before = scene.sessions
                ip("link", "set", f"{name}a", "down")
                scene.lost()
                time.sleep(3)
                ip("link", "set", f"{name}a", "up")
                told = f"noticed, and live again {scene.live(before):.1f} s after the cable was back"
        finally:
            server.close()
            ip("link", "del", f"{name}a")
            ip("netns", "del", name)
    return _judged("half-open TCP", told, inbox, scene.worst_silence_s)


def _judged(name: str, told: str, inbox: Inbox, silence_s: float) -> dict[str, Any]:
    starts, ends = inbox.accounts()
    wrong = {key: (starts[key], ends[key]) for key in starts | ends if (starts[key], ends[key]) != (1, 1)}
    row = {
        "drill": name,
        "result": told,
        "tracks": len(starts),
        "tracks_wrong": len(wrong),
        "sent_again": inbox.again,
        "bystander_silent_s": round(silence_s, 2),
        "ok": not wrong and bool(starts) and silence_s < 5,
    }
    inbox.server.shutdown()
    inbox.server.server_close()
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--away", type=float, default=300.0)
    parser.add_argument("--only")
    args = parser.parse_args()
    if lacking := missing():
        raise SystemExit(f"the drill needs {lacking}")
    todo: dict[str, Callable[[], dict[str, Any]]] = {
        "server killed and started": lambda: run(
            "server killed and started", lambda scene, server: restarts(scene, server, args.restarts)
        )
    }
    todo |= {name: functools.partial(run, name, drill) for name, drill in DRILLS.items()}
    todo |= {
        "clock jumps": clock_jump,
        "half-open TCP": half_open,
        "receiver away": lambda: receiver_away(args.away),
        "disk full": disk_full,
    }
    rows = []
    for name, drill in todo.items():
        if args.only in (None, name):
            try:
                rows.append(drill())
            except AssertionError as error:
                rows.append({"drill": name, "result": f"FAILED: {error}", "ok": False})
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    record(rows if args.only is None else _instead(rows))
    raise SystemExit(0 if all(row["ok"] is not False for row in rows) else 1)


def record(rows: list[dict[str, Any]]) -> None:
    """Write the results."""
    lines = [
        "| drill | seen | tracks, each started and ended once | bystander's longest pause |",
        "|---|---|---|---|",
    ]
    for row in rows:
        tracks = f"{row.get('tracks', 0) - row.get('tracks_wrong', 0)} of {row.get('tracks', 0)}"
        lines.append(
            f"| {row['drill']} | {row['result']} | {tracks} | {row.get('bystander_silent_s', '–')} s |"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "drill.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    (RESULTS / "drill.md").write_text("\n".join(lines) + "\n")


def _instead(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All recorded rows, those of the same drills replaced by these."""
    new = {row["drill"]: row for row in rows}
    path = RESULTS / "drill.json"
    known = json.loads(path.read_text()) if path.is_file() else []
    return [new.pop(row["drill"], row) for row in known] + list(new.values())


if __name__ == "__main__":
    main()
