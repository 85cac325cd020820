from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from patience import PATIENCE_S

from facesieve.stream.decode import VideoSource
from facesieve.stream.errors import (
    FrameTooLarge,
    NoFrames,
    NotVideo,
    NoVideoStream,
    SourceEmpty,
    SourceError,
    SourceMissing,
    SourceUnreadable,
)

Clip = Callable[..., Path]
FRONT = {"movflags": "faststart"}


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def read(path: Path, **keywords: int) -> tuple[int, float, str | None]:
    """Frames, time of the last, damage."""
    with VideoSource(path, **keywords) as source:
        last = [(f.index, f.pts_s) for f in source][-1]
        return last[0] + 1, last[1], source.damage


def remuxed(source: Path, target: Path, options: dict[str, str] | None = None) -> Path:
    """The video stream of a real clip in another container."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                new.mux(packet)
    return target


@pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
@pytest.mark.parametrize(("name", "options"), [("c.mp4", FRONT), ("c.mkv", {})])
def test_a_cut_file_yields_what_is_there_and_says_so(
    shared: Path, tmp_path: Path, name: str, options: dict[str, str], share: float
) -> None:
    whole = remuxed(shared / "videos" / "carphone_pristine.mp4", tmp_path / name, options)
    assert read(whole) == (120, pytest.approx(119 / 29.97, abs=0.04), None)
    missing = whole.stat().st_size - int(whole.stat().st_size * share)
    count, last_s, damage = read(cut(whole, share))
    assert 120 * share * 0.6 < count <= 120
    assert damage is not None
    said = re.search(
        r"truncated: the file ends (\d+) bytes early.*the last frame read is at ([\d.]+) s", damage
    )
    assert said, damage
    assert int(said[1]) == pytest.approx(missing, abs=2)
    assert float(said[2]) == pytest.approx(last_s, abs=0.005)


def test_a_cut_avi(clip: Clip) -> None:
    path = clip("c.avi", codec="mpeg4", frames=60)
    assert read(path)[2] is None
    count, _, damage = read(cut(path, 0.5))
    assert 4 < count < 50
    assert damage is not None
    assert "truncated" in damage


def test_a_cut_file_reads_the_same_with_any_number_of_threads(shared: Path, tmp_path: Path) -> None:
    path = cut(remuxed(shared / "videos" / "carphone_pristine.mp4", tmp_path / "c.mp4", FRONT), 0.5)
    assert read(path, threads=1)[:2] == read(path, threads=4)[:2]


def test_an_mp4_cut_before_its_index_says_so(shared: Path, tmp_path: Path) -> None:
    path = cut(remuxed(shared / "videos" / "carphone_pristine.mp4", tmp_path / "c.mp4"), 0.5)
    with pytest.raises(
        NotVideo, match=r"c\.mp4: truncated MP4, its index \(moov\) is missing: .* \d+ bytes early"
    ):
        VideoSource(path)


def test_a_cut_pipe_is_told_by_its_declared_duration(shared: Path, tmp_path: Path) -> None:
    path = cut(remuxed(shared / "videos" / "carphone_pristine.mp4", tmp_path / "c.mp4", FRONT), 0.5)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as feeder:
        assert feeder.stdout is not None
        source = VideoSource(feeder.stdout)
        assert len(list(source)) > 20
    assert source.damage is not None
    assert "are missing at the end" in source.damage


@pytest.mark.parametrize(
    ("at", "new", "unplaced"), [(8, (40).to_bytes(4, "big"), 80), (12 + 4 * 40, b"\xff", 1)]
)
def test_a_broken_index_is_told(shared: Path, tmp_path: Path, at: int, new: bytes, unplaced: int) -> None:
    path = remuxed(shared / "videos" / "carphone_pristine.mp4", tmp_path / "c.mp4")
    data = bytearray(path.read_bytes())
    sizes = data.index(b"stsz") + 4
    data[sizes + at : sizes + at + len(new)] = new
    path.write_bytes(data)
    count, last_s, damage = read(path)
    assert count == 40
    assert damage == (
        f"damaged index: it places {120 - unplaced} of 120 frames, the last frame read is at {last_s:.2f} s"
    )


def test_flipped_bytes_are_stepped_over_and_told(shared: Path, tmp_path: Path) -> None:
    path = remuxed(shared / "videos" / "short_hamilton_clip.mp4", tmp_path / "f.mp4", FRONT)
    data, dice = bytearray(path.read_bytes()), random.Random(1)
    for _ in range(30):
        data[dice.randrange(len(data) // 4, len(data))] ^= 0xFF
    path.write_bytes(data)
    count, _, damage = read(path)
    assert count > 200
    assert damage is not None
    assert re.search(r"damaged frames that the decoder mended: \d+, first at \d+\.\d\d s", damage)


def _bad(tmp_path: Path, clip: Clip, audio_only: Path) -> dict[str, tuple[Path, type[SourceError], str]]:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    spoilt = bytearray(clip("good.mkv", codec="ffv1", frames=3).read_bytes())
    start = spoilt.find(b"\x1f\x43\xb6\x75") + 60  # into the first frame of the first Cluster
    spoilt[start:-300] = bytes(len(spoilt) - 300 - start)
    return {
        "missing": (tmp_path / "no.mp4", SourceMissing, "no such file"),
        "folder as file": (tmp_path / "good.mkv" / "x.mp4", SourceMissing, "no such file"),
        "long name": (tmp_path / ("n" * 300), SourceMissing, "no such file"),
        "folder": (tmp_path, NotVideo, "expected a video file, got a folder"),
        "device": (Path("/dev/zero"), NotVideo, "a device, not a file"),
        "empty": (write("empty.mp4", b""), SourceEmpty, "0 bytes"),
        "text": (
            write("text.mp4", b"Dear diary, today I filmed nothing.\n" * 99),
            NotVideo,
            "not a video that",
        ),
        "zeros": (write("zeros.mp4", bytes(9999)), NotVideo, "not a video that"),
        "noise": (write("noise.mp4", random.Random(0).randbytes(99999)), NotVideo, "noise.mp4: "),
        "audio": (audio_only, NoVideoStream, r"no video stream in it \(it holds: audio\)"),
        "no frame": (write("none.mkv", spoilt), NoFrames, "holds no frame that can be decoded"),
        "large": (
            clip("large.mp4", size=(640, 480)),
            FrameTooLarge,
            "640×480 are beyond the limit of 100000",
        ),
    }


@pytest.mark.parametrize(
    "case",
    "missing/folder as file/long name/folder/device/empty/text/zeros/noise/audio/no frame/large".split("/"),  # noqa: SIM905
)
def test_one_clear_message(
    case: str, tmp_path: Path, clip: Clip, audio_only: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, error, cause = _bad(tmp_path, clip, audio_only)[case]
    capfd.readouterr()
    with pytest.raises(SourceError, match=cause) as caught:
        list(VideoSource(path, max_pixels=100_000))
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message
    assert path.name[:80] in message
    assert capfd.readouterr() == ("", ""), "FFmpeg's own log came through"


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("m.avi", "mjpeg", "yuvj420p"),
        ("m.mjpeg", "mjpeg", "yuvj420p"),  # its container has no header that could tell
        ("v.mp4", "mpeg4", "yuv420p"),
        ("f.mkv", "ffv1", "yuv420p"),
    ],
)
def test_a_size_beyond_the_limit_is_told_by_decoders_that_forget_it(
    clip: Clip, name: str, codec: str, pixels: str
) -> None:
    path = clip(name, codec=codec, pixels=pixels, size=(640, 480))
    assert read(path, max_pixels=640 * 480)[0] == 10
    with pytest.raises(FrameTooLarge, match=f"{name}: frames of 640×480 are beyond the limit of 307199"):
        VideoSource(path, max_pixels=640 * 480 - 1)


def test_a_decoder_that_cannot_skip_is_not_asked_without_a_limit(clip: Clip) -> None:
    path = clip("p.avi", codec="png", pixels="rgb24", size=(640, 480))
    with (
        pytest.raises(NoFrames, match="beyond the limit of 307199 pixels"),
        VideoSource(path, max_pixels=640 * 480 - 1) as source,
    ):
        list(source)


def test_a_failing_disk(clip: Clip) -> None:
    class Failing:
        def __init__(self, data: bytes, good: int) -> None:
            self.data, self.at, self.good = data, 0, good

        def seekable(self) -> bool:
            return False

        def read(self, size: int) -> bytes:
            if self.at >= self.good:
                raise OSError(5, "Input/output error")
            start, self.at = self.at, min(self.at + size, self.good)
            return self.data[start : self.at]

    data = clip("d.mkv", codec="ffv1", size=(320, 240)).read_bytes()
    with pytest.raises(SourceUnreadable, match=r"disk: cannot be read .*Input/output error"):
        VideoSource(Failing(data, 0), name="disk")  # type: ignore[arg-type]
    source = VideoSource(Failing(data, len(data) * 2 // 3), name="disk")  # type: ignore[arg-type]
    assert 3 <= len(list(source)) <= 9
    assert source.damage is not None
    assert "reads that failed" in source.damage
    assert "Input/output error" in source.damage


def test_hostile_names_stay_on_one_line(tmp_path: Path) -> None:
    name = "evil\n\x1b[2J\u202egpj.mp4"
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(NotVideo) as caught:
        VideoSource(tmp_path / name)
    assert r"evil\n\x1b[2J\u202egpj.mp4" in str(caught.value)
    with pytest.raises(SourceMissing, match="no file can have this name"):
        VideoSource("nul\0.mp4")


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
    "b.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "c.ffconcat": "ffconcat version 1.0\nfile {file}\n",
    "d.txt": "ffconcat version 1.0\nfile '{file}'\n",
    "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 45454 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "f.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT10S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_nothing_else_is_opened_through_a_file(clip: Clip, tmp_path: Path, name: str) -> None:
    import http.server
    import threading

    asked: list[str] = []

    class Ears(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Ears) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            text = PLAYLISTS[name].format(
                file=clip("real.ts"), url=f"http://127.0.0.1:{server.server_port}/x.ts"
            )
            (tmp_path / name).write_text(text)
            with pytest.raises(NotVideo, match="files that name other files are not followed"):
                VideoSource(tmp_path / name)
        finally:
            server.shutdown()
            thread.join()
    assert asked == []


FUZZ = """
import os, random, resource, sys
from pathlib import Path
from facesieve.stream.decode import VideoSource
from facesieve.stream.errors import SourceError

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_CPU, (480, 480))
target, rounds = Path(sys.argv[1]), int(sys.argv[2])
clips = [Path(p).read_bytes() for p in sys.argv[3:]]
dice, seen, warm, files = random.Random(7), {"whole": 0, "damaged": 0, "refused": 0}, None, None
for number in range(rounds):
    data = bytearray(dice.choice(clips))
    kind = dice.randrange(4)
    if kind != 1:
        for _ in range(dice.choice((1, 3, 20, 200))):
            near = dice.random() < 0.5  # headers matter most
            data[dice.randrange(min(len(data), 3000) if near else len(data))] = dice.randrange(256)
    if kind in (1, 2):
        del data[dice.randrange(len(data)):]
    if kind == 3:
        at, length = dice.randrange(len(data)), dice.randrange(5000)
        data[at:at + length] = bytes(min(length, len(data) - at))
    target.write_bytes(data)
    last, source = -1.0, None
    try:
        with VideoSource(target, threads=1 + number % 3, max_pixels=1 << 20) as source:
            for f in source:
                assert last < f.pts_s < float("inf"), (number, last, f.pts_s)
                last = f.pts_s
                if f.index % 16 == 0:
                    f.picture.region(3, 5, 90, 99); f.picture.scaled(64, 48); f.picture.luma(8)
        seen["damaged" if source.damage else "whole"] += 1
    except SourceError as error:
        assert last < 0, (number, "an error after a frame", error)
        assert "fuzz" in str(error) and "\\n" not in str(error)
        seen["refused"] += 1
    if number == rounds // 3:
        warm, files = peak(), len(os.listdir("/proc/self/fd"))
assert len(os.listdir("/proc/self/fd")) == files
print(peak() - warm, *seen.values())
"""


def test_fuzz(shared: Path, tmp_path: Path, clip: Clip) -> None:
    """Flips, holes and cuts at many offsets: no crash, no hang, no leak, only the tree's errors."""
    real = shared / "videos" / "carphone_pristine.mp4"
    forms = (("a.mp4", FRONT), ("b.mkv", {}), ("c.ts", {}))
    clips = [remuxed(real, tmp_path / name, options) for name, options in forms]
    clips.append(clip("d.avi", codec="mpeg4", frames=60, options={"bf": "2"}))
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path / "fuzz.mp4"), "120", *map(str, clips)],
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    grown_kib, whole, damaged, refused = map(int, done.stdout.split())
    assert grown_kib < 32 * 1024
    assert whole + damaged + refused == 120
    assert damaged > 10
    assert refused > 3
