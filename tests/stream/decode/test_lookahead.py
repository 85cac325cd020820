"""Leaving out frames nobody looks at must not be seen in those that are looked at."""

from __future__ import annotations

import os
import re
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.video.stream import VideoStream

from facesieve.stream.cadence import Cadence
from facesieve.stream.decode import VideoSource
from facesieve.stream.decode.lookahead import Lookahead, reference_test
from facesieve.stream.decode.sources import open_source
from facesieve.stream.decode.timeline import Timeline
from facesieve.stream.types import Frame

# B-frames nothing refers to, in both containers; edit lists that drop frames; none to leave out; HEVC.
CLIPS = (
    "WolfgangLanger_Pexels.mp4",
    "walking_crowd_1080p.mp4",
    "asl/again.mkv",
    "asl/milk.mkv",
    "no_face.mp4",
    "short_hamilton_clip.mp4",
    "face_noface.mov",
)
Looks = list[tuple[int, float, int, bytes]]
FIRST_SLICE = re.compile(rb"\x00\x00\x01([\x01\x02\x05\x21\x22\x25\x41\x42\x45\x61\x62\x65])")


def looks(path: Path, *, hz: float, cadence_hz: float, threads: int) -> tuple[Looks, int, int, str | None]:
    """What a cadence sees of a film: the looks, the frames counted and delivered, the damage."""
    delivered = 0

    def counted(source: VideoSource) -> Iterator[Frame]:
        nonlocal delivered
        for frame in source:
            delivered += 1
            yield frame

    with VideoSource(path, threads=threads, hz=hz) as source:
        cadence, seen = Cadence(hz=cadence_hz), []
        for look in cadence.due(counted(source)):
            picture = look.frame.picture
            pixels = picture.region(0, 0, picture.width, picture.height)
            seen.append((look.frame.index, look.frame.pts_s, look.frames, sha256(pixels).digest()))
        return seen, cadence.frames, delivered, source.damage


def references(path: Path) -> list[bool]:
    """Of each frame as shown, whether others may refer to it: by the stream in its other form (Annex B)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
        sent = [made for packet in container.demux(stream) for made in annex_b.filter(packet)]
    kept = [packet for packet in sent if packet.pts is not None and not packet.is_discard]
    kept.sort(key=lambda packet: packet.pts or 0)
    headers = [FIRST_SLICE.search(bytes(packet)) for packet in kept]
    return [header is not None and header[1][0] >= 0x20 for header in headers]


def expected(times: list[float], reference: list[bool], hz: float) -> list[int]:
    """Which frames of a steady film are looked at: near each moment the first that others refer to, if it
    comes at most two thirds of an interval (and .25 s) late."""
    moment, chosen = times[0], [-1]
    while (first := max(bisect_left(times, moment - 0.02 / hz), chosen[-1] + 1)) < len(times):
        latest = moment + min(2 / 3 / hz, 0.25)
        near = [i for i in range(first, len(times)) if times[i] <= latest]
        chosen.append(next((i for i in near if reference[i]), first))
        moment = (moment if times[first] - moment < 1 / hz else times[first]) + 1 / hz
    return sorted({*chosen[1:], len(times) - 1})


@pytest.mark.parametrize("clip", CLIPS)
def test_what_is_looked_at_has_the_same_pixels(shared: Path, clip: str) -> None:
    path = shared / "videos" / clip
    whole = looks(path, hz=0, cadence_hz=0, threads=1)
    frames = {index: (pts_s, pixels) for index, pts_s, _, pixels in whole[0]}
    some, *_ = thinned = [looks(path, hz=8, cadence_hz=8, threads=threads) for threads in (1, 2)]
    for seen, count, _, damage in thinned:
        assert (seen, count, damage) == (some[0], whole[1], whole[3])
        assert all(frames[index] == (pts_s, pixels) for index, pts_s, _, pixels in seen)


@pytest.mark.parametrize("hz", [1.0, 3.0, 8.0, 12.5, 29.97])
@pytest.mark.parametrize("clip", ["WolfgangLanger_Pexels.mp4", "walking_crowd_1080p.mp4", "asl/again.mkv"])
def test_frames_that_others_refer_to_are_preferred(shared: Path, clip: str, hz: float) -> None:
    path = shared / "videos" / clip
    with VideoSource(path) as source:
        times = [frame.pts_s for frame in source]
    reference = references(path)
    assert 0 < sum(reference) < len(reference) == len(times)
    with VideoSource(path, hz=hz) as source:
        seen = [look.frame.index for look in Cadence(hz=hz).due(source)]
    assert seen == expected(times, reference, hz)


def test_without_such_frames_the_first_due_is_looked_at(shared: Path) -> None:
    path = shared / "videos/short_hamilton_clip.mp4"
    whole = looks(path, hz=0, cadence_hz=8, threads=1)
    assert looks(path, hz=8, cadence_hz=8, threads=1) == whole


def test_almost_half_of_a_film_with_b_frames_is_never_decoded(shared: Path) -> None:
    _, frames, delivered, _ = looks(shared / "videos/walking_crowd_1080p.mp4", hz=8, cadence_hz=8, threads=1)
    assert frames == 105
    assert delivered < 0.55 * frames


def test_a_cut_file_is_still_called_damaged(shared: Path, tmp_path: Path) -> None:
    whole = (shared / "videos/asl/again.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    full, thinned = (looks(cut, hz=hz, cadence_hz=hz, threads=1) for hz in (0, 8))
    assert thinned[3] is not None
    assert thinned[3] == full[3]
    assert {look[::3] for look in thinned[0]} <= {look[::3] for look in full[0]}


def test_a_pipe_is_looked_at_like_the_file(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "videos/asl/again.mkv"
    readable, writable = os.pipe()

    def write() -> None:
        with os.fdopen(writable, "wb") as pipe:
            pipe.write(path.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(readable, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        source = open_source("-", hz=8)
        seen = [(look.frame.index, look.frame.pts_s, look.frames) for look in Cadence(hz=8).due(source)]
    writer.join()
    assert seen == [look[:3] for look in looks(path, hz=8, cadence_hz=8, threads=1)[0]]


def test_variable_frame_rates_and_gaps(tmp_path: Path) -> None:
    path = tmp_path / "odd.mkv"
    noise = np.random.default_rng(0)
    times = np.cumsum(noise.choice([20, 40, 70, 900], 150, p=[0.4, 0.4, 0.17, 0.03])).tolist()
    encoding = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options=encoding)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, at in enumerate(times):
            picture = np.roll(np.linspace(0, 255, 64).astype(np.uint8), index)
            frame = av.VideoFrame.from_ndarray(np.broadcast_to(picture, (48, 64)).copy(), "gray8")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole, *_ = looks(path, hz=0, cadence_hz=0, threads=1)
    seen, count, delivered, _ = looks(path, hz=8, cadence_hz=8, threads=2)
    assert delivered < count == len(whole)
    shown = {index: (pts_s, pixels) for index, pts_s, _, pixels in whole}
    assert all(shown[index] == (pts_s, pixels) for index, pts_s, _, pixels in seen)
    assert seen[0][0] == 0
    assert seen[-1][0] == count - 1
    at = [pts_s for _, pts_s, _, _ in seen]
    for before, after in pairwise(at):
        passed = [
            pts_s for _, pts_s, _, _ in whole if before + 1 / 8 <= pts_s < after
        ]  # though they were due
        assert all(after - pts_s <= 2 / 3 / 8 + 1e-9 for pts_s in passed)


def test_a_packet_far_in_the_future_does_not_hold_up_the_film(shared: Path) -> None:
    with av.open(str(shared / "videos/WolfgangLanger_Pexels.mp4")) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        packets[20].pts = 10**15
        read = 0

        def counted() -> Iterator[Packet[VideoStream]]:
            nonlocal read
            for packet in packets:
                read += 1
                yield packet

        given: list[bool] = []
        for _, wanted in Lookahead(8, Timeline(24), stream).decided(counted()):
            given.append(wanted)
            assert read - len(given) <= 300
    assert len(given) == len(packets) == read
    assert given[20]
    assert sum(given) < len(given) / 2


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", bytes(40), bytes(10**6), b"\xff" * 40, b"\0\0\0\1", b"\0\0\0\1\x06\xff\xff\xff\xff\x06"],
)
def test_of_packets_without_a_slice_nothing_is_left_out(data: bytes) -> None:
    assert reference_test(b"\1dd\0\xff\xe1")(Packet(data))


def test_slices_are_found_behind_other_units() -> None:
    is_reference = reference_test(b"\1dd\0\xfd\xe1")  # lengths of two bytes
    sei = b"\0\3\x06\x41\x41"
    assert is_reference(Packet(sei + b"\0\2\x41\0"))
    assert not is_reference(Packet(sei + b"\0\2\x01\0"))
    assert reference_test(b"\0\0\0\1\x67")(Packet(sei + b"\0\2\x01\0"))  # not in the length-prefixed form
    assert reference_test(None)(Packet(sei))
