"""Leaving out frames nobody looks at must not be seen in those that are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from facesieve.stream.cadence import Cadence
from facesieve.stream.decode import VideoSource
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


@pytest.mark.parametrize("clip", CLIPS)
def test_what_is_looked_at_is_the_same(shared: Path, clip: str) -> None:
    path = shared / "videos" / clip
    whole = looks(path, hz=0, cadence_hz=8, threads=1)
    for threads in (1, 2):
        thinned = looks(path, hz=8, cadence_hz=8, threads=threads)
        assert thinned[:2] + thinned[3:] == whole[:2] + whole[3:]


@pytest.mark.parametrize("hz", [1.0, 3.0, 12.5, 29.97])
def test_at_any_rate(shared: Path, hz: float) -> None:
    path = shared / "videos/WolfgangLanger_Pexels.mp4"
    whole = looks(path, hz=0, cadence_hz=hz, threads=1)
    thinned = looks(path, hz=hz, cadence_hz=hz, threads=2)
    assert thinned[:2] == whole[:2]


def test_a_third_of_a_film_with_b_frames_is_never_decoded(shared: Path) -> None:
    _, frames, delivered, _ = looks(shared / "videos/walking_crowd_1080p.mp4", hz=8, cadence_hz=8, threads=1)
    assert frames == 105
    assert delivered < 0.7 * frames


def test_a_cut_file_is_still_called_damaged(shared: Path, tmp_path: Path) -> None:
    whole = (shared / "videos/asl/again.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    full, thinned = (looks(cut, hz=hz, cadence_hz=8, threads=1) for hz in (0, 8))
    assert thinned[3] is not None
    assert thinned[3] == full[3]
    assert thinned[0] == full[0]


def test_a_pipe_is_not_held_up(shared: Path) -> None:
    class Pipe:
        def __init__(self, path: Path) -> None:
            self._file = path.open("rb")

        def read(self, size: int) -> bytes:
            return self._file.read(size)

        def seekable(self) -> bool:
            return False

        def close(self) -> None:
            self._file.close()

    pipe = Pipe(shared / "videos/asl/again.mkv")
    try:
        with VideoSource(pipe, hz=8) as source:  # type: ignore[arg-type]
            assert sum(1 for _ in source) == 77
    finally:
        pipe.close()
