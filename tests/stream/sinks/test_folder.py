from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.stream.errors import OutputExists, OutputFull, OutputUnwritable
from facesieve.stream.sinks import FolderSink, folder
from facesieve.stream.sinks.results import read_results

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
DRAWN = str(Path(__file__).with_name("conftest.py"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below folder by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write(out: Path, results, **options) -> None:
    with FolderSink(out, **options) as sink:
        for result in results:
            sink.write(result)
        sink.finish({"source": {"name": "lobby.mp4"}})


def test_what_is_written(tmp_path: Path, make_result) -> None:
    write(tmp_path / "out", [make_result(1), make_result(7, (0.9,)), make_result(8, ())])
    assert list(contents(tmp_path / "out")) == [
        "report.html",
        "run.json",
        *(f"shots/{name}" for name in ("1/1.jpg", "1/1_chip.png", "1/2.jpg", "1/2_chip.png")),
        *(f"shots/{name}" for name in ("7/1.jpg", "7/1_chip.png")),
        "shots.jsonl",
        "tracks.jsonl",
    ]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["schema"] == "facesieve.run/1"
    assert run["counts"] == {"tracks": 3, "shots": 3}


def test_chips_are_lossless_and_portraits_nearly(tmp_path: Path, make_result) -> None:
    result = make_result(1, (0.9,))
    write(tmp_path, [result])
    chip = cv2.imread(str(tmp_path / "shots/1/1_chip.png"))[..., ::-1]
    portrait = cv2.imread(str(tmp_path / "shots/1/1.jpg"))[..., ::-1]
    np.testing.assert_array_equal(chip, result.shots[0].crop.chip)
    assert np.abs(portrait.astype(int) - result.shots[0].crop.portrait).mean() < 1.5


def test_equal_input_gives_equal_bytes_wherever_it_is_written(tmp_path: Path, make_result) -> None:
    for out in (tmp_path / "a", tmp_path / "elsewhere" / "b"):
        write(out, [make_result(2), make_result(1)])
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "elsewhere" / "b")
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_only_the_owner_may_look(tmp_path: Path, make_result) -> None:
    out = tmp_path / "new" / "out"
    before = os.umask(0)
    try:
        write(out, [make_result(1)])
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in out.rglob("*") if p.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in [out, *out.rglob("*")] if p.is_dir()} == {0o700}


def test_a_track_is_readable_as_soon_as_it_is_written(tmp_path: Path, make_result) -> None:
    sink = FolderSink(tmp_path)
    sink.write(make_result(4))
    results = read_results(tmp_path)
    assert [t.track for t in results.tracks] == [4]
    assert all((tmp_path / shot.chip).is_file() for shot in results.shots[4])
    assert not (tmp_path / "tracks.jsonl").exists()  # the name is given when the file is whole
    sink.close()
    sink.close()
    assert (tmp_path / "tracks.jsonl").is_file()


def test_a_killed_run_leaves_its_finished_tracks(tmp_path: Path) -> None:
    program = f"""
        import runpy
        import os, signal
        from pathlib import Path
        drawn_result = runpy.run_path({DRAWN!r})["drawn_result"]
        from facesieve.stream.sinks import FolderSink, folder
        sink = FolderSink(Path({str(tmp_path)!r}))
        sink.write(drawn_result(1)); sink.write(drawn_result(2))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    results = read_results(tmp_path)
    assert [t.track for t in results.tracks] == [1, 2]
    assert results.run is None
    with pytest.raises(OutputExists):
        FolderSink(tmp_path)
    FolderSink(tmp_path, overwrite=True).close()  # the lock died with its process


@pytest.mark.parametrize("left", ["tracks.jsonl", "shots.jsonl.part", "run.json", "report.html", "shots/"])
def test_results_that_are_there_are_not_overwritten(tmp_path: Path, left: str) -> None:
    (tmp_path / left).mkdir() if left.endswith("/") else (tmp_path / left).write_text("")
    with pytest.raises(OutputExists, match=left.rstrip("/")):
        FolderSink(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [left.rstrip("/")]


def test_overwriting_removes_what_facesieve_wrote_and_nothing_else(tmp_path: Path, make_result) -> None:
    write(tmp_path, [make_result(1), make_result(2)])
    for mine in ("notes.txt", "shots/holiday.jpg", "shots/1/1_edited.jpg", "shots/album/1.jpg"):
        (tmp_path / mine).parent.mkdir(exist_ok=True)
        (tmp_path / mine).write_text("mine")
    write(tmp_path, [make_result(5, (0.5,))], overwrite=True)
    assert list(contents(tmp_path)) == [
        *("notes.txt", "report.html", "run.json", "shots/1/1_edited.jpg"),
        *("shots/5/1.jpg", "shots/5/1_chip.png", "shots/album/1.jpg", "shots/holiday.jpg"),
        *("shots.jsonl", "tracks.jsonl"),
    ]


@pytest.mark.parametrize("name", ["run.json", "report.html", "tracks.jsonl"])
def test_a_file_that_only_has_the_name_is_not_overwritten(tmp_path: Path, make_result, name: str) -> None:
    write(tmp_path, [make_result(1)])
    (tmp_path / name).write_text("of some other program")
    before = contents(tmp_path)
    with pytest.raises(OutputUnwritable, match=f"{name}.*not written by facesieve"):
        FolderSink(tmp_path, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("first", [True, False])
def test_another_run_makes_way_at_the_same_moment(
    tmp_path: Path, make_result, monkeypatch, first: bool
) -> None:
    write(tmp_path, [make_result(1)])

    def looked_at(path: Path) -> None:
        if first:
            path.unlink()  # by the other
        check_ours(path)
        path.unlink(missing_ok=True)

    check_ours = folder.check_ours
    monkeypatch.setattr(folder, "check_ours", looked_at)
    write(tmp_path, [make_result(2)], overwrite=True)
    assert [track.track for track in read_results(tmp_path).tracks] == [2]


@pytest.mark.parametrize("link", ["shots", "shots/1", "tracks.jsonl", "run.json.part", "report.html"])
def test_links_are_never_followed(tmp_path: Path, make_result, link: str) -> None:
    """Whatever a link inside the folder points at, nothing outside is written or removed."""
    out, outside = tmp_path / "out", tmp_path / "outside"
    write(outside, [make_result(1, (0.1, 0.05, 0.01))])
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(outside / link.removesuffix(".part"))
    before = contents(outside)
    with pytest.raises(OutputUnwritable, match=f"{link}' is a link"):
        write(out, [make_result(1)], overwrite=True)
    assert contents(outside) == before
    assert (out / link).is_symlink()


def test_a_link_in_place_of_a_picture_is_replaced_not_followed(tmp_path: Path, make_result) -> None:
    (tmp_path / "out/shots/1").mkdir(parents=True)
    (tmp_path / "mine.jpg").write_text("mine")
    for name in ("1/1.jpg", "1/2.jpg.part", "1/9.jpg"):
        (tmp_path / "out/shots" / name).symlink_to(tmp_path / "mine.jpg")
    write(tmp_path / "out", [make_result(1)], overwrite=True)
    assert (tmp_path / "mine.jpg").read_text() == "mine"
    assert [p.name for p in (tmp_path / "out/shots/1").iterdir() if p.is_symlink()] == ["9.jpg"]


def test_two_runs_cannot_write_to_one_folder(tmp_path: Path, make_result) -> None:
    with FolderSink(tmp_path) as sink:
        sink.write(make_result(1))
        for overwrite in (False, True):
            with pytest.raises(OutputExists):
                FolderSink(tmp_path, overwrite=overwrite)
    assert len(read_results(tmp_path).tracks) == 1


@pytest.mark.parametrize("track", [1, -1])
def test_a_track_ends_once_and_has_a_number(tmp_path: Path, make_result, track: int) -> None:
    with FolderSink(tmp_path) as sink:
        sink.write(make_result(1))
        with pytest.raises(ValueError, match=f"got {track}"):
            sink.write(make_result(track, ()))


class TestUnwritable:
    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(OutputUnwritable, match="out' is a file"):
            FolderSink(tmp_path / "out")

    def test_a_file_above_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputUnwritable, match=r"file/out/deep'.*(Not a directory|File exists)"):
            FolderSink(tmp_path / "file" / "out" / "deep")

    def test_a_kernel_file_system(self) -> None:
        with pytest.raises(OutputUnwritable, match="/proc/self/out"):
            FolderSink(Path("/proc/self/out"))

    def test_a_name_too_long_shown_without_its_control_characters(self, tmp_path: Path) -> None:
        with pytest.raises(OutputUnwritable, match="File name too long") as caught:
            FolderSink(tmp_path / ("x\n" * 200))
        assert "\n" not in str(caught.value)

    @pytest.fixture
    def others_folder(self) -> Iterator[Path]:
        """A folder that this process may look into but not write to, also where the tests run as root."""
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o555)
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(NOBODY)
        yield folder
        if as_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)

    def test_no_permission(self, others_folder: Path) -> None:
        for out in (others_folder, others_folder / "out"):
            with pytest.raises(OutputUnwritable, match="Permission denied"):
                FolderSink(out)


class TestFull:
    """A full disk loses the track that did not fit, and nothing before it."""

    @pytest.mark.parametrize("fits", [0, 10, 2_000, 20_000, 30_000, 31_000, 32_000])
    def test_at_any_write(self, tmp_path: Path, make_result, monkeypatch, fits: int) -> None:
        sink = FolderSink(tmp_path)
        sink.write(make_result(1))
        before = contents(tmp_path)
        left, really = fits, os.write

        def scarce(fd: int, data: bytes) -> int:
            nonlocal left
            if left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = really(fd, bytes(data)[:left])  # a disk takes what fits before it says it is full
            left -= taken
            return taken

        monkeypatch.setattr(os, "write", scarce)
        many = map(sink.write, map(make_result, range(2, 100)))
        with pytest.raises(OutputFull, match="No space left on device"):
            deque(many)
        monkeypatch.undo()
        after = contents(tmp_path)
        assert {k: after[k][: len(v)] for k, v in before.items()} == before
        assert not [name for name in after if name.endswith((".jpg.part", ".png.part"))]
        sink.close()
        results = read_results(tmp_path)
        assert 1 in results.shots
        on_disk = {name for name in contents(tmp_path) if name.startswith("shots/")}
        assert on_disk == {n for s in results.shots.values() for r in s for n in (r.portrait, r.chip)}

    def test_a_real_one(self, tmp_path: Path) -> None:
        """A tmpfs of 300 kB, mounted in a name space of its own."""
        program = f"""
            import runpy
            from pathlib import Path
            drawn_result = runpy.run_path({DRAWN!r})["drawn_result"]
            from facesieve.stream.errors import OutputFull
            from facesieve.stream.sinks import FolderSink, folder
            from facesieve.stream.sinks.results import read_results
            out, written = Path({str(tmp_path)!r}) / "out", 0
            sink = FolderSink(out)
            try:
                for track in range(100):
                    sink.write(drawn_result(track))
                    written += 1
            except OutputFull as full:
                print(full)
            sink.close()
            results = read_results(out)
            assert 1 <= written == len(results.tracks) < 100
            assert all((out / s.chip).stat().st_size for kept in results.shots.values() for s in kept)
            try:
                sink.finish({{}})
            except OutputFull:
                print("no report")
        """
        mount = 'mount -t tmpfs -o size=300k tmpfs "$1" && shift && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path)]
        if subprocess.run([*command, "true"], capture_output=True).returncode:
            pytest.skip("this user may not mount a tmpfs; test_at_any_write stands in")
        done = subprocess.run(
            [*command, sys.executable, "-c", textwrap.dedent(program)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "No space left on device" in done.stdout


def test_an_interrupted_write_leaves_whole_tracks(tmp_path: Path, make_result, monkeypatch) -> None:
    sink = FolderSink(tmp_path)
    sink.write(make_result(1))
    really, calls = os.write, 0

    def interrupted(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return really(fd, data)

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sink.write(make_result(2))
    monkeypatch.undo()
    sink.close()
    assert [t.track for t in read_results(tmp_path).tracks] == [1]
    assert not (tmp_path / "shots/2").exists()


@pytest.mark.parametrize("quality", [0, 101])
def test_jpeg_quality_is_1_to_100(tmp_path: Path, quality: int) -> None:
    with pytest.raises(ValueError, match=f"got {quality}"):
        FolderSink(tmp_path, jpeg_quality=quality)
