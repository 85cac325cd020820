from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from patience import PATIENCE_S

from facesieve.stream.decode import VideoSource
from facesieve.stream.errors import FrameTooLarge, NoVideoStream

Clip = Callable[..., Path]


def times(source: VideoSource) -> list[float]:
    return [frame.pts_s for frame in source]


def greys(source: VideoSource) -> list[int]:
    return [
        int(f.picture.region(f.picture.width // 2, f.picture.height // 2, f.picture.width // 2 + 1,
                             f.picture.height // 2 + 1)[0, 0, 1])
        for f in source
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("b_frames.mp4", {"options": {"bf": "3"}}),
        ("b_frames.mkv", {"options": {"bf": "3"}}),
        ("b_frames.avi", {"options": {"bf": "3"}}),  # AVI has decode times only
        ("packed.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("b_frames.ts", {"options": {"bf": "3"}}),
        ("raw.h264", {"options": {"bf": "3"}, "form": "h264"}),  # no times at all
        ("plain.webm", {"codec": "libvpx-vp9"}),
        ("plain.flv", {"codec": "flv"}),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("motion.mjpeg", {"codec": "mjpeg", "pixels": "yuvj420p", "form": "mjpeg"}),
    ],
)
def test_frames_come_in_order_and_evenly(clip: Clip, name: str, keywords: dict[str, object]) -> None:
    path = clip(name, frames=12, **keywords)
    with VideoSource(path, threads=1) as source:
        assert source.name == name
        assert not source.stills
        found = times(source)
        assert source.damage is None
    assert len(found) == 12
    assert np.diff(found) == pytest.approx(np.full(11, 0.04), abs=2e-3)
    assert 0 <= found[0] < 0.2
    assert (np.diff(greys(VideoSource(path))[:11]) > 10).all()


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(2), (192, 64)),
        (Fraction(16, 11), (140, 64)),
        (Fraction(1, 2), (96, 128)),
        (Fraction(200, 199), (96, 64)),  # rounding of an encoder
        (Fraction(9), (96, 64)),  # nobody means that
    ],
)
@pytest.mark.parametrize("name", ["wide.mp4", "wide.mkv", "wide.ts", "wide.h264"])
def test_pixels_are_square(clip: Clip, name: str, aspect: Fraction, size: tuple[int, int]) -> None:
    path = clip(name, frames=12, aspect=aspect, form="h264" if name.endswith("h264") else None)
    with VideoSource(path) as source:
        for frame in source:
            picture = frame.picture
            assert (picture.width, picture.height) == size
            red, green = (
                picture.region(2, 2, 3, 3)[0, 0],
                picture.region(size[0] - 3, 2, size[0] - 2, 3)[0, 0],
            )
            assert red[0] > 200 > red[1]
            assert green[1] > 200 > green[0]


def test_variable_frame_rate_and_start_offset_are_kept(clip: Clip) -> None:
    ticks = [500, 540, 900, 910, 2400, 2401, 2433]
    path = clip("v.mkv", frames=7, ticks=ticks, time_base=Fraction(1, 1000))
    assert times(VideoSource(path)) == pytest.approx([t / 1000 for t in ticks], abs=1.1e-3)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_number_of_threads_changes_nothing(shared: Path, threads: int) -> None:
    def marks(count: int) -> list[tuple[int, float, int]]:
        with VideoSource(shared / "videos" / "carphone_pristine.mp4", threads=count) as source:
            return [(f.index, f.pts_s, hash(f.picture.region(0, 0, 176, 144).tobytes())) for f in source]

    found = marks(threads)
    assert len(found) == 120
    assert found == marks(2)


def test_real_clips(shared: Path) -> None:
    for name, count, first, last in (
        ("short_hamilton_clip.mp4", 275, 0.852, 9.994),
        ("walking_crowd_1080p.mp4", 105, 0.0, 4.16),
        ("face_noface.mov", 169, 0.0, 6.361),
        ("asl/again.mkv", 77, 0.033, 2.567),
    ):
        with VideoSource(shared / "videos" / name) as source:
            found = times(source)
            assert source.damage is None
        assert (len(found), found[0], found[-1]) == (
            count,
            pytest.approx(first, abs=1e-3),
            pytest.approx(last, abs=1e-3),
        )


def _turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Writes a display matrix into an MP4's track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40
    a, b, c, d = (v << 16 for v in matrix)
    values = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    (
        "matrix",
        "expected",
    ),  # the colours then seen top left, top right, bottom left, right
    [
        ((1, 0, 0, 1), "rgby"),
        ((0, 1, -1, 0), "bryg"),  # a phone held upright: turned right
        ((-1, 0, 0, -1), "ybgr"),
        ((0, -1, 1, 0), "gyrb"),
        ((-1, 0, 0, 1), "gryb"),  # a mirrored front camera
        ((1, 0, 0, -1), "byrg"),
        ((0, 1, 1, 0), "rbgy"),
    ],
)
def test_pictures_are_upright(clip: Clip, matrix: tuple[int, int, int, int], expected: str) -> None:
    path = _turned(clip("r.mp4", frames=2, size=(96, 64), options={"crf": "1"}), matrix)
    picture = next(iter(VideoSource(path))).picture
    size = (64, 96) if matrix[0] == 0 else (96, 64)
    assert (picture.width, picture.height) == size
    width, height = size
    colours = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "y": (255, 255, 0)}
    spots = ((4, 4), (width - 6, 4), (4, height - 6), (width - 6, height - 6))
    for (x, y), letter in zip(spots, expected, strict=True):
        whole = picture.scaled(width, height)
        assert whole.shape == (height, width, 3)
        assert whole[y, x].astype(int) == pytest.approx(colours[letter], abs=14)
        assert picture.region(x, y, x + 2, y + 1)[0, 0].astype(int) == pytest.approx(colours[letter], abs=14)
        assert picture.luma(1)[y, x] == pytest.approx(
            16 + 219 / 255 * np.dot((0.299, 0.587, 0.114), colours[letter]), abs=6
        )


def test_interlaced_frames_are_made_whole(clip: Clip) -> None:
    """A bar that moves between the two fields leaves a comb in the stored frame and none in the picture."""

    def fields(i: int) -> np.ndarray:
        image = np.full((128, 160, 3), 60, np.uint8)
        for row in range(128):
            left = 20 + 12 * i + 6 * (row % 2)
            image[row, left : left + 20] = 200
        return image

    def comb(grey: np.ndarray) -> float:
        rows = grey.astype(float)
        return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())

    path = clip(
        "i.mpg", codec="mpeg2video", size=(160, 128), interlaced=True, image=fields, frames=8,
        options={"b": "8M", "top": "1"}, form="vob",
    )  # fmt: skip
    with av.open(str(path)) as raw:
        stored = list(raw.decode(video=0))
    assert all(f.interlaced_frame for f in stored)
    with VideoSource(path) as source:
        frames = list(source)
        assert source.damage is None
    assert np.diff([f.pts_s for f in frames]) == pytest.approx(np.full(len(stored) - 1, 0.04), abs=2e-3)
    assert [f.pts_s for f in frames] == pytest.approx([f.time for f in stored], abs=1e-4)
    combs = [
        (comb(s.to_ndarray(format="gray")), comb(f.picture.luma(1)))
        for s, f in zip(stored, frames, strict=True)
    ]
    assert all(made < 0.35 * was for was, made in combs[1:-1]), combs


def test_a_stream_may_change_its_size(clip: Clip, tmp_path: Path) -> None:
    small = clip("a.h264", size=(64, 48), frames=4, form="h264").read_bytes()
    large = clip("b.h264", size=(128, 96), frames=4, form="h264").read_bytes()
    path = tmp_path / "both.h264"
    path.write_bytes(small + large)
    frames = list(VideoSource(path))
    assert [(f.picture.width, f.picture.height) for f in frames] == [(64, 48)] * 4 + [(128, 96)] * 4
    assert [f.picture.scaled(32, 24).shape for f in frames] == [(24, 32, 3)] * 8
    assert frames[-1].picture.region(100, 80, 128, 96).shape == (16, 28, 3)


def test_the_video_is_chosen_not_the_cover(tmp_path: Path) -> None:
    def write(name: str, covers: tuple[bool, ...]) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            streams = []
            for cover in covers:
                size = (320, 240) if cover else (64, 48)
                stream = out.add_stream("mjpeg" if cover else "libx264", rate=25)
                stream.width, stream.height = size
                stream.pix_fmt = "yuvj420p" if cover else "yuv420p"
                if cover:
                    stream.disposition = av.stream.Disposition.attached_pic
                streams.append((stream, size, 1 if cover else 5))
            for stream, (w, h), count in streams:
                for i in range(count):
                    frame = av.VideoFrame.from_ndarray(np.full((h, w, 3), 99, np.uint8), "rgb24")
                    frame.pts, frame.time_base = i, Fraction(1, 25)
                    out.mux(stream.encode(frame))
                out.mux(stream.encode())
        return path

    frames = list(VideoSource(write("both.mp4", (True, False))))
    assert [(f.picture.width, f.picture.height) for f in frames] == [(64, 48)] * 5
    with pytest.raises(NoVideoStream, match=r"cover\.mp4: no video stream in it \(it holds: cover art\)"):
        VideoSource(write("cover.mp4", (True,)))


def test_titles_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "titled.mkv"
    with av.open(str(path), "w") as sink:
        sink.metadata["title"] = "TITLE"
        stream = sink.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in (av.VideoFrame(64, 48, "yuv420p"), None):
            sink.mux(stream.encode(frame))
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xff\xfe\x00\xc3\x28"))
    assert len(list(VideoSource(path))) == 1


def test_frames_beyond_the_limit_are_refused_before_they_are_decoded(clip: Clip) -> None:
    path = clip("large.mp4", size=(640, 480), frames=2)
    with pytest.raises(FrameTooLarge, match=r"large\.mp4: frames of 640×480 are beyond the limit"):
        VideoSource(path, max_pixels=1000)
    assert len(list(VideoSource(path, max_pixels=640 * 480))) == 2


def test_streams_and_pipes(clip: Clip) -> None:
    path = clip("p.mkv", frames=9)
    with path.open("rb") as file:
        source = VideoSource(file, name="lobby")
        assert source.name == "lobby"
        assert len(list(source)) == 9
        assert not file.closed
    data = path.read_bytes()
    readable, writable = os.pipe()
    copy = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    with subprocess.Popen([sys.executable, "-c", copy], stdin=subprocess.PIPE, stdout=writable) as feeder:
        os.close(writable)
        assert feeder.stdin is not None
        feeder.stdin.write(data)
        feeder.stdin.close()
        with os.fdopen(readable, "rb") as pipe:
            source = VideoSource(pipe)
            assert len(list(source)) == 9
            assert source.damage is None


def test_an_interrupt_inside_a_read_is_not_lost(clip: Clip) -> None:
    class Interrupted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            if self.reads > 3:
                raise KeyboardInterrupt
            return super().read(size)

        def seekable(self) -> bool:
            return False

    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    file = Interrupted(clip("long.mkv", codec="ffv1", size=(320, 240), image=lambda _: noise).read_bytes())
    with pytest.raises(KeyboardInterrupt):
        list(VideoSource(file))


def test_a_source_is_iterated_once_and_closed_at_any_time(clip: Clip) -> None:
    path = clip("c.mp4")
    source = VideoSource(path)
    frames = iter(source)
    kept = next(frames)
    source.close()
    source.close()
    assert list(frames) == []
    assert kept.picture.scaled(32, 32).shape == (32, 32, 3)  # a frame outlives its source
    with pytest.raises(RuntimeError, match="once"):
        iter(source)
    with pytest.raises(ValueError, match="threads"):
        VideoSource(path, threads=-1)


def test_closing_while_another_thread_decodes(shared: Path) -> None:
    for round_ in range(6):
        source = VideoSource(shared / "videos" / "short_hamilton_clip.mp4")
        seen: list[int] = []
        begun, closed = threading.Event(), threading.Event()

        def read(frames=source, seen=seen, begun=begun, closed=closed, at=10 * round_) -> None:
            for frame in frames:
                seen.append(frame.index)
                if len(seen) == at:
                    begun.set()
                if len(seen) == 200:  # of 275: whoever closes it is late
                    closed.wait(PATIENCE_S)

        reader = threading.Thread(target=read)
        reader.start()
        if round_:
            assert begun.wait(PATIENCE_S)
        source.close()
        closed.set()
        reader.join(timeout=PATIENCE_S)
        assert not reader.is_alive()
        assert len(seen) < 275
        assert source.damage is None


def test_duration(clip: Clip) -> None:
    for name, form, expected_s in (("d.mp4", None, 2.0), ("d.mkv", None, 2.0), ("d.h264", "h264", None)):
        with VideoSource(clip(name, form=form, frames=50)) as source:
            assert source.duration_s == (None if expected_s is None else pytest.approx(expected_s, abs=0.05))


def test_a_frame_is_released_as_soon_as_it_is_let_go(clip: Clip) -> None:
    """By counting references alone: frames that wait for the garbage collector would be gigabytes at 4K."""

    def alive() -> int:
        # not isinstance: it asks other packages' objects for their class, and some of them warn
        # The small copy whose side data tells how the picture is turned waits for the collector.
        found = [thing for thing in gc.get_objects() if type(thing) is av.VideoFrame]
        return sum(thing.width > 16 for thing in found)

    gc.collect()
    before, most = alive(), 0
    gc.disable()
    try:
        path = clip("r.mp4", frames=12, options={"tune": "zerolatency"})
        for frame in VideoSource(path, threads=1):
            frame.picture.scaled(32, 32)
            frame.picture.region(0, 0, 9, 9)
            frame.picture.luma(4)
            most = max(most, alive() - before)
        del frame
        left = alive() - before
    finally:
        gc.enable()
    assert 1 <= most <= 3  # this one, the decoder's next, the window that regions are cut in
    assert left == 0


def test_memory_and_files_do_not_grow(clip: Clip) -> None:
    path = clip("m.mp4", size=(640, 480), frames=60)
    script = (
        "import os, resource, sys\n"
        "from facesieve.stream.decode import VideoSource\n"
        "def run():\n"
        "    for f in VideoSource(sys.argv[1], threads=2):\n"
        "        f.picture.scaled(320, 240); f.picture.region(10, 10, 200, 200); f.picture.luma(8)\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in range(2): run()\n"
        "first, files = peak(), len(os.listdir('/proc/self/fd'))\n"
        "for _ in range(5): run()\n"
        "assert len(os.listdir('/proc/self/fd')) == files\n"
        "print(peak() - first)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=True,
    )
    assert int(done.stdout) < 8 * 1024, "peak memory in KiB grew from run to run"
    assert done.stderr == ""
