"""Frames that lost packets have smeared do not get through, and are the only ones that do not for long."""

from __future__ import annotations

import itertools
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import av.logging
import pytest
from live_servers import film
from patience import PATIENCE_S
from ports import free_port

from facesieve.stream.serve.damage import Damage, heard

MISSED = (av.logging.WARNING, "sdp", "RTP: missed 2 packets\n")
ERROR = (av.logging.ERROR, "h264", "error while decoding MB 0 6\n")
OTHER = [(av.logging.WARNING, "h264", "deprecated"), (av.logging.ERROR, "mjpeg", "no SOI")]


def frame(*, key: bool = False, corrupt: bool = False) -> Any:
    return SimpleNamespace(key_frame=key, is_corrupt=corrupt)


class TestDamage:
    @pytest.mark.parametrize("told", [MISSED, ERROR])
    def test_all_up_to_the_next_whole_key_frame_is_spoilt(self, told: Any) -> None:
        damage = Damage("h264")
        assert not damage.spoils(frame(key=True))
        damage.hear(heard_now := [told])
        assert heard_now == []
        assert damage.spoils(frame())
        assert damage.spoils(frame())
        damage.hear([told])
        assert damage.spoils(frame(key=True)), "the key frame itself was hit"
        assert damage.spoils(frame())
        assert not damage.spoils(frame(key=True))
        assert not damage.spoils(frame())
        assert damage.frames == 4

    def test_a_frame_that_ffmpeg_marks_spoils_what_follows_and_other_talk_nothing(self) -> None:
        damage = Damage("h264")
        damage.hear(list(OTHER))
        assert not damage.spoils(frame())
        assert damage.spoils(frame(corrupt=True))
        assert damage.spoils(frame())
        assert not damage.spoils(frame(key=True))


def test_ffmpegs_log_is_heard_by_the_thread_that_asks_and_quiet_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with heard() as told, heard():
        other = threading.Thread(target=av.logging.log, args=(av.logging.ERROR, "rtsp", "rtsp://u:s3cret@h/"))
        other.start()
        other.join()
        assert told == []
        assert av.logging.get_level() == av.logging.WARNING
    with heard() as told:
        av.logging.log(av.logging.WARNING, "sdp", MISSED[2])
        assert told == [MISSED]
    assert av.logging.get_level() is None
    assert "s3cret" not in caplog.text
    assert logging.getLogger("libav").propagate is False


class LossyCamera:
    """A film over RTP, of whose packets every so many are lost."""

    def __init__(self, clip: Path, every: int) -> None:
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.bind(("127.0.0.1", 0))
        self._to = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
        self.sdp = clip.with_suffix(".sdp")
        self.sdp.write_text(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=film\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=video {self._to[1]} RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1\n"
        )
        command = ["ffmpeg", "-nostdin", "-loglevel", "quiet", "-re", "-stream_loop", "-1", "-i", str(clip)]
        command += ["-an", "-c:v", "copy", "-f", "rtp", f"rtp://127.0.0.1:{self._in.getsockname()[1]}"]
        self._every = every
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()
        self._publisher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _relay(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for number in itertools.count(1):
                packet = self._in.recv(65536)
                if self._left.is_set():
                    return
                if number % self._every or number < 200:  # FFmpeg learns what comes from the first
                    out.sendto(packet, self._to)

    def close(self) -> None:
        self._publisher.kill()
        self._publisher.wait()
        self._left.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._in.getsockname())
        self._thread.join()
        self._in.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg (Debian package) is missing")
    made, stream = film(tmp_path / "moving.mp4", fps=15, seconds=4), tmp_path / "moving.ts"
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(made), "-c", "copy", str(stream)]
    subprocess.run(command, check=True)
    return stream


@pytest.fixture
def camera(clip: Path) -> Iterator[LossyCamera]:
    made = LossyCamera(clip, every=61)
    yield made
    made.close()


def test_of_a_camera_that_loses_packets_only_whole_frames_get_through(
    camera: LossyCamera, clip: Path
) -> None:
    with av.open(str(clip)) as whole:
        known = {shown.to_ndarray().tobytes() for shown in whole.decode(video=0)}
    smeared, given, deadline = 0, 0, time.monotonic() + PATIENCE_S
    options = {"protocol_whitelist": "file,udp,rtp", "fflags": "nobuffer+discardcorrupt"}
    with av.open(str(camera.sdp), options=options, timeout=PATIENCE_S) as live, heard() as told:
        stream = live.streams.video[0]
        stream.codec_context.thread_count = 1
        damage = Damage(stream.codec_context.name)
        for packet in live.demux(stream):
            frames = []
            with suppress(av.FFmpegError):
                frames = packet.decode()
            for shown in frames:
                damage.hear(told)
                is_whole = shown.to_ndarray().tobytes() in known
                smeared += not is_whole
                if not damage.spoils(shown):
                    given += 1
                    assert is_whole, f"after {given} frames"
            if smeared >= 10 and given >= 30:
                break
            assert time.monotonic() < deadline, (smeared, given)
