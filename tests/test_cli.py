"""`facesieve run` as its user meets it: results, exit codes, one clear message for each bad input."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
import cv2
import numpy as np
import pytest
from patience import PATIENCE_S, until

import facesieve.__main__
from facesieve.cli import main

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def yunet(shared: Path, tmp_path: Path) -> Path:
    """A configuration with a small, local detector."""
    path = tmp_path / "yunet.toml"
    weights = shared / "models" / "yunet_n_dynamic.onnx"
    path.write_text(
        f'[detector]\nkind = "yunet"\nweights = "{weights}"\nlong_side_px = 320\n'
        '[scorer]\nkind = "analytical"\n'
    )
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], yunet: Path) -> Run:
    """Runs the command line in this process, with the small detector unless told otherwise."""

    def call(*arguments: str | Path, config: Path | None = yunet) -> Done:
        with_config = ["--config", str(config)] if config else []
        monkeypatch.setattr("sys.argv", ["facesieve", "run", *map(str, arguments), *with_config])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, output.out, output.err)

    return call


def assert_one_error(done: Done, code: int, *named: str) -> None:
    """The documented exit code, one `error:` line that names file and cause, no traceback."""
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.code == code, done.err
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    for name in named:
        assert name in lines[0], lines[0]


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_film_gives_shots_tracks_and_a_report(run: Run, shared: Path, tmp_path: Path) -> None:
    done = run(shared / "videos/short_hamilton_clip.mp4", "--out", tmp_path / "out", "--top-k", "2")
    assert done.code == 0, done.err
    shots, tracks = lines_of(tmp_path / "out/shots.jsonl"), lines_of(tmp_path / "out/tracks.jsonl")
    assert shots
    assert len(tracks) >= 3
    for shot in shots:
        assert (tmp_path / "out" / str(shot["portrait"])).is_file()
        chip = cv2.imread(str(tmp_path / "out" / str(shot["chip"])))
        assert chip.shape == (112, 112, 3)
        assert shot["rank"] in (1, 2)
    facts = json.loads((tmp_path / "out/run.json").read_text())
    assert facts["counts"]["frames"] == 275
    assert facts["complete"] is True
    assert "Report:" in done.out
    assert (tmp_path / "out/report.html").stat().st_size > 10_000


def test_two_runs_are_byte_identical_whatever_the_threads(
    run: Run, shared: Path, yunet: Path, tmp_path: Path
) -> None:
    clip = shared / "videos/short_hamilton_clip.mp4"
    for name, threads in (("one", 1), ("many", 2)):
        config = tmp_path / f"{name}.toml"  # in bfloat16 a network on other threads may round otherwise
        engine = f'[engine]\nprecision = "fp32"\nthreads = {threads}\n'
        config.write_text(f"{yunet.read_text()}[decode]\nthreads = {threads}\n{engine}")
        run(clip, "--out", tmp_path / name, config=config)
    one, many = tmp_path / "one", tmp_path / "many"
    written = sorted(p.relative_to(many) for p in many.rglob("*") if p.is_file())
    assert written == sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    compared = [p for p in written if p.name not in ("run.json", "report.html")]
    assert len(compared) > 4
    for path in compared:
        assert (one / path).read_bytes() == (many / path).read_bytes(), path


def test_embeddings_are_written_only_when_asked_for(
    run: Run, shared: Path, yunet: Path, tmp_path: Path
) -> None:
    clip, student = shared / "videos/asl/yes.mkv", tmp_path / "student.toml"
    student.write_text(yunet.read_text().replace("analytical", "student"))
    assert run(clip, "--out", tmp_path / "without", config=student).code == 0
    assert not any("embedding" in shot for shot in lines_of(tmp_path / "without/shots.jsonl"))
    student.write_text(student.read_text() + "[output]\nembeddings = true\n")
    assert run(clip, "--out", tmp_path / "with", config=student).code == 0
    shots = lines_of(tmp_path / "with/shots.jsonl")
    assert shots
    for shot in shots:
        assert len(shot["embedding"]) == 128  # type: ignore[arg-type]


def test_shots_told_early_come_before_their_track_ends(run: Run, shared: Path, tmp_path: Path) -> None:
    clip = shared / "videos/short_hamilton_clip.mp4"
    done = run(clip, "--out", tmp_path / "early", "--emit", "realtime", "--json", "--top-k", "2")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    told = [event for event in events if event["event"] == "revision"]
    assert told
    ended: set[int] = set()
    for event in events:
        if event["event"] == "revision":
            assert event["track"] not in ended
            assert (tmp_path / "early" / event["portrait"]).is_file()
        elif event["event"] == "track":
            ended.add(event["track"])
    lines = lines_of(tmp_path / "early/revisions.jsonl")
    assert [(e["track"], e["revision"]) for e in told] == [(e["track"], e["revision"]) for e in lines]
    assert run(clip, "--out", tmp_path / "late", "--top-k", "2").code == 0
    shots = [(tmp_path / name / "shots.jsonl").read_bytes() for name in ("early", "late")]
    assert shots[0] == shots[1]
    assert not (tmp_path / "late/revisions.jsonl").exists()


def test_a_quick_shot_needs_a_calibrated_scorer(run: Run, shared: Path, tmp_path: Path) -> None:
    done = run(shared / "videos/single_face.mp4", "--out", tmp_path / "out", "--emit", "timeliness")
    assert_one_error(done, 2, "timeliness", "analytical-1", "calibration")


def test_diverse_shots_of_a_film(run: Run, shared: Path, tmp_path: Path) -> None:
    clip = shared / "videos/WolfgangLanger_Pexels.mp4"
    for kind in ("none", "pose"):
        assert run(clip, "--out", tmp_path / kind, "--diversity", kind).code == 0
    plain, diverse = (lines_of(tmp_path / kind / "shots.jsonl") for kind in ("none", "pose"))
    assert len(plain) == len(diverse) == 3
    assert plain[0]["frame_index"] == diverse[0]["frame_index"]  # the best one is in both
    assert {s["frame_index"] for s in plain} != {s["frame_index"] for s in diverse}


def test_several_sources_get_a_folder_each(run: Run, shared: Path, tmp_path: Path) -> None:
    clips = [shared / "videos/single_face.mp4", shared / "videos/no_face.mp4"]
    done = run(*clips, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    events = [json.loads(line) for line in done.out.splitlines()]
    ends = [event for event in events if event["event"] == "source"]
    assert [end["exit_code"] for end in ends] == [0, 0]
    assert ends[0]["shots"] >= 1
    assert ends[1]["shots"] == 0
    for end in ends:
        assert (Path(end["out"]) / "report.html").is_file()


def test_images_each_count_as_one_frame(run: Run, shared: Path, tmp_path: Path) -> None:
    faces = sorted((shared / "data/ytf-dev/images").glob("*.jpg"))[:4]
    folder = tmp_path / "faces"
    folder.mkdir()
    for number, face in enumerate(faces):
        shutil.copy(face, folder / f"{number}.jpg")
    done = run(folder, "--out", tmp_path / "out")
    assert done.code == 0
    shots = lines_of(tmp_path / "out/shots.jsonl")
    assert {shot["frame_index"] for shot in shots} == {0, 1, 2, 3}
    (folder / "2.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    partial = run(f"{folder}/*.jpg", "--out", tmp_path / "partial")
    assert_one_error(partial, 3, "partial", "2.jpg")
    assert {shot["frame_index"] for shot in lines_of(tmp_path / "partial/shots.jsonl")} >= {0, 1}


def test_missing(run: Run, tmp_path: Path) -> None:
    assert_one_error(run(tmp_path / "nobody.mp4", "--out", tmp_path / "out"), 11, "nobody.mp4")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["gone.mp4", "gone.jpg", "gone*.jpg", "gone"])
def test_what_is_missing_overwrites_nothing(run: Run, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "tracks.jsonl").write_text("")
    assert_one_error(run(tmp_path / name, "--out", out, "--overwrite"), 11, name)
    assert [path.name for path in out.iterdir()] == ["tracks.jsonl"]


def test_empty(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert_one_error(run(tmp_path / "empty.mp4", "--out", tmp_path / "out"), 12, "empty.mp4")


def test_text_renamed_to_mp4(run: Run, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("Dear Sir, this is no video.\n" * 400)
    assert_one_error(run(tmp_path / "letter.mp4", "--out", tmp_path / "out"), 14, "letter.mp4")


def test_audio_only(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as sink:
        stream = sink.add_stream("aac", rate=44100)
        for start in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    assert_one_error(run(path, "--out", tmp_path / "out"), 15, "song.m4a", "audio")


def test_a_stream_without_frames(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "nothing.avi"
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        sink.start_encoding()
    done = run(path, "--out", tmp_path / "out")
    assert_one_error(done, 16, "nothing.avi")


def test_truncated_is_partial_and_keeps_what_it_read(run: Run, shared: Path, tmp_path: Path) -> None:
    whole = (shared / "videos/WolfgangLanger_Pexels.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    with (
        av.open(io.BytesIO(whole)) as source,
        av.open(str(cut), "w", options={"movflags": "faststart"}) as sink,
    ):
        video = source.streams.video[0]
        copy = sink.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                sink.mux(packet)
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    done = run(cut, "--out", tmp_path / "out")
    assert_one_error(done, 3, "cut.mp4", "partial")
    facts = json.loads((tmp_path / "out/run.json").read_text())
    assert 100 < facts["counts"]["frames"] < 400
    assert facts["complete"] is False
    assert facts["source"]["damage"]
    assert lines_of(tmp_path / "out/shots.jsonl")


@pytest.mark.slow
def test_frames_of_8k(run: Run, shared: Path, tmp_path: Path) -> None:
    face = cv2.imread(str(next((shared / "data/lfw-train/images/Aaron_Eckhart").glob("*.jpg"))))
    canvas = np.zeros((4320, 7680, 3), np.uint8)
    canvas[800:3800, 2000:5000] = cv2.resize(face, (3000, 3000))
    path = tmp_path / "8k.mp4"
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
        frame = av.VideoFrame.from_ndarray(canvas, format="bgr24")
        for _ in range(3):
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    assert run(path, "--out", tmp_path / "out").code == 0
    assert lines_of(tmp_path / "out/shots.jsonl")


def test_a_frame_beyond_the_limit(run: Run, shared: Path, yunet: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.toml"
    small.write_text(yunet.read_text() + "[decode]\nmax_pixels = 1000\n")
    clip = shared / "videos/single_face.mp4"
    assert_one_error(run(clip, "--out", tmp_path / "out", config=small), 17, "single_face.mp4")


def test_output_that_cannot_be_written(run: Run, shared: Path, tmp_path: Path) -> None:
    clip = shared / "videos/single_face.mp4"
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert_one_error(run(clip, "--out", out), 22, f"expected a folder, '{tmp_path}/file' is a file")
    assert_one_error(run(clip, "--out", "/proc/facesieve"), 22, "/proc/facesieve")


def test_output_with_results_already(run: Run, shared: Path, tmp_path: Path) -> None:
    clip, out = shared / "videos/single_face.mp4", tmp_path / "out"
    assert run(clip, "--out", out).code == 0
    before = (out / "shots.jsonl").read_bytes()
    (out / "mine.txt").write_text("keep me")
    assert_one_error(run(clip, "--out", out), 21, str(out))
    assert (out / "shots.jsonl").read_bytes() == before
    assert run(clip, "--out", out, "--overwrite").code == 0
    assert (out / "shots.jsonl").read_bytes() == before
    assert (out / "mine.txt").read_text() == "keep me"


def test_full_disk_keeps_what_was_finished(run: Run, shared: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        done = run(shared / "videos/short_hamilton_clip.mp4", "--out", disk / "out", "--top-k", "9")
        assert_one_error(done, 23, "out")
        tracks = lines_of(next((disk / "out").glob("tracks.jsonl*")))
        shots = lines_of(next((disk / "out").glob("shots.jsonl*")))
        assert tracks
        for shot in shots:
            assert (disk / "out" / str(shot["portrait"])).is_file()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "name",
    [
        "line\nbreak.mp4",
        "\x1b[31mred\x07.mp4",
        "ü" * 120 + ".mp4",
        "<img src=x onerror=alert(1)>.mp4",
        "-.mp4",
    ],
    ids=["newline", "escape codes", "long", "markup", "dash"],
)
def test_hostile_file_names(run: Run, shared: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    shutil.copy(shared / "videos/single_face.mp4", path)
    done = run(path, shared / "videos/no_face.mp4", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "\x1b[31m" not in done.out + done.err
    assert "\x07" not in done.out + done.err
    folders = [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()]
    assert len(folders) == 2
    assert "Report of all sources: " in done.out
    for folder in folders:
        assert folder.isprintable()
        assert len(folder.encode()) <= 120
        assert "/" not in folder
    pages = [p.read_text() for p in (tmp_path / "out").glob("*/report.html")]
    assert len(pages) == 2
    assert not any("<img src=x" in page for page in pages)


def test_a_path_that_climbs_stays_inside_the_output(run: Run, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(shared / "videos/no_face.mp4", tmp_path / "evil.mp4")
    shutil.copy(shared / "videos/no_face.mp4", tmp_path / "other.mp4")
    climbing = f"{tmp_path}/a/../evil.mp4"
    assert run(climbing, tmp_path / "other.mp4", "--out", tmp_path / "out").code == 0
    assert sum(p.is_dir() for p in (tmp_path / "out").iterdir()) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "evil.mp4", "other.mp4", "out", "yunet.toml"]


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[selection]\ntopk = 3\n", ("selection.topk", "top_k")),
        ('[selection]\ntop_k = "three"\n', ("selection.top_k", "three")),
        ("[detector]\nmin_scor = 0.5\n", ("detector.min_scor", "min_score")),
        ('[tracker]\nkind = "sort"\n', ("tracker", "bytetrack")),
        ("[selection\n", ("TOML",)),
        ("[selection]\ntop_k = 0\n", ("selection.top_k",)),
    ],
)
def test_a_wrong_configuration(
    run: Run, shared: Path, tmp_path: Path, toml: str, named: tuple[str, ...]
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(toml)
    done = run(shared / "videos/single_face.mp4", "--out", tmp_path / "out", config=path)
    assert_one_error(done, 2, "wrong.toml", *named)


def test_weights_that_are_missing_or_no_network(run: Run, shared: Path, tmp_path: Path) -> None:
    clip, config = shared / "videos/single_face.mp4", tmp_path / "weights.toml"
    config.write_text(f'[detector]\nkind = "yunet"\nweights = "{tmp_path}/gone.onnx"\n')
    assert_one_error(run(clip, "--out", tmp_path / "out", config=config), 31, "gone.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07 garbage")
    config.write_text(f'[detector]\nkind = "yunet"\nweights = "{tmp_path}/bad.onnx"\n')
    assert_one_error(run(clip, "--out", tmp_path / "out", config=config), 33, "bad.onnx")
    config.write_text(f'[detector]\nkind = "yunet"\nweights = "{shared}/models/mobilefacenet_foamliu.onnx"\n')
    assert_one_error(run(clip, "--out", tmp_path / "out", config=config), 33)
    assert not (tmp_path / "out").exists()


def test_weights_unreachable_or_with_a_wrong_hash(
    run: Run, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = shared / "videos/single_face.mp4"
    monkeypatch.setenv("FACESIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACESIEVE_OFFLINE", "1")
    assert_one_error(run(clip, "--out", tmp_path / "out", config=None), 31, "centerface", "offline")
    folder = tmp_path / "cache/models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "centerface-09189dea.onnx").write_bytes(b"not these weights")
    assert_one_error(run(clip, "--out", tmp_path / "out", config=None), 32, "centerface", "SHA-256")


def test_an_unknown_scorer(run: Run, shared: Path, tmp_path: Path) -> None:
    done = run(shared / "videos/single_face.mp4", "--out", tmp_path / "out", "--scorer", "best")
    assert_one_error(done, 2, "best", "analytical")


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("notes.txt", "a text", "not an ONNX model"),
        ("idle.xml", '<net name="idle" version="11"><layers/></net>', "expected one input"),
    ],
)
def test_a_scorer_that_is_none(
    run: Run, shared: Path, tmp_path: Path, name: str, text: str, cause: str
) -> None:
    (tmp_path / name).write_text(text)
    done = run(
        shared / "videos/single_face.mp4", "--out", tmp_path / "out", "--scorer", tmp_path / name, config=None
    )
    assert_one_error(done, 33, name, cause)


def test_a_failing_source_does_not_stop_the_next(run: Run, shared: Path, tmp_path: Path) -> None:
    done = run(tmp_path / "gone.mp4", shared / "videos/single_face.mp4", "--out", tmp_path / "out")
    assert_one_error(done, 11, "gone.mp4")
    assert lines_of(next((tmp_path / "out").glob("*/shots.jsonl")))


def process(
    *arguments: str | Path,
    stdin: int | None = None,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    begin: str = 'exec "$@"',
) -> subprocess.Popen[str]:
    """`facesieve run` in a process of its own. begin: how a shell starts it."""
    command = [sys.executable, "-m", "facesieve", "run", *map(str, arguments)]
    return subprocess.Popen(
        ["sh", "-c", begin, "sh", *command],
        cwd=ROOT,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **(environment or {})},
        text=stdin is None,
        preexec_fn=hear,
    )


def hear() -> None:
    """Where the tests themselves run under nohup, what they start would inherit that SIGHUP is ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_pipe(shared: Path, yunet: Path, tmp_path: Path) -> None:
    running = process("-", "--out", tmp_path / "out", "--config", yunet, "--quiet", stdin=subprocess.PIPE)
    running.communicate((shared / "videos/asl/yes.mkv").read_bytes(), timeout=4 * PATIENCE_S)  # type: ignore[arg-type]
    assert running.returncode == 0
    assert lines_of(tmp_path / "out/shots.jsonl")


def test_a_pipe_cannot_go_back_to_an_index_at_the_end(shared: Path, yunet: Path, tmp_path: Path) -> None:
    running = process("-", "--out", tmp_path / "out", "--config", yunet, "--quiet", stdin=subprocess.PIPE)
    film = (shared / "videos/single_face.mp4").read_bytes()
    _, told = running.communicate(film, timeout=4 * PATIENCE_S)  # type: ignore[arg-type]
    assert running.returncode == 16
    assert b"write it with -movflags +faststart" in told  # type: ignore[operator]


def is_idle(pid: int) -> bool:
    """Whether a moment later every thread of the process sleeps; one that waits for a processor does not."""
    time.sleep(0.05)
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return {(one / "stat").read_text().rpartition(")")[2].split()[0] for one in threads} == {"S"}
    except OSError:  # one has ended meanwhile
        return False


def waiting_in(pipe: int) -> int:
    """Bytes that nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupting_writes_what_is_finished(
    shared: Path, yunet: Path, tmp_path: Path, number: signal.Signals
) -> None:
    pipe, feed = os.pipe()
    running = process("-", "--out", tmp_path / "out", "--config", yunet, stdin=pipe)
    os.close(pipe)
    clip = (shared / "videos/asl/yes.mkv").read_bytes()
    with os.fdopen(feed, "wb") as writer:  # the pipe stays open: the film never ends by itself
        writer.write(clip)
        writer.flush()
        until((tmp_path / "out/shots.jsonl.part").exists)
        until(lambda: all(is_idle(running.pid) and not waiting_in(feed) for _ in range(20)))
        running.send_signal(number)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, err
    assert b"-: interrupted; what was finished is written" in err  # type: ignore[operator]
    facts = json.loads((tmp_path / "out/run.json").read_text())
    assert facts["interrupted"] is True
    assert {track["end"] for track in lines_of(tmp_path / "out/tracks.jsonl")} == {"shutdown"}
    assert lines_of(tmp_path / "out/shots.jsonl")


def test_a_closing_terminal_that_is_to_be_ignored_is(shared: Path, yunet: Path, tmp_path: Path) -> None:
    """As nohup asks."""
    pipe, feed = os.pipe()
    deaf = 'trap "" HUP; exec "$@"'
    running = process("-", "--out", tmp_path / "out", "--config", yunet, stdin=pipe, begin=deaf)
    os.close(pipe)
    clip = (shared / "videos/asl/yes.mkv").read_bytes()
    with os.fdopen(feed, "wb") as writer:
        writer.write(clip[: len(clip) // 2])
        writer.flush()
        until((tmp_path / "out/tracks.jsonl.part").exists)
        running.send_signal(signal.SIGHUP)
        writer.write(clip[len(clip) // 2 :])
    _, err = running.communicate(timeout=4 * PATIENCE_S)
    assert running.returncode == 0, err
    assert json.loads((tmp_path / "out/run.json").read_text())["interrupted"] is False


def test_waiting_for_a_pipe_is_interrupted_at_once(yunet: Path, tmp_path: Path) -> None:
    pipe, feed = os.pipe()
    running = process("-", "--out", tmp_path / "out", "--config", yunet, stdin=pipe)
    os.close(pipe)
    with os.fdopen(feed, "wb"):  # open, and silent
        until(lambda: all(is_idle(running.pid) for _ in range(20)))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, err
    assert b"-: interrupted; nothing of it was begun" in err  # type: ignore[operator]
    assert not (tmp_path / "out").exists()


def complaints(err: str) -> list[str]:
    """Standard error without what is told along the way."""
    return [line for line in err.splitlines() if re.match(r"error|Traceback|Exception", line)]


def assert_whole(out: Path) -> None:
    """The results of single_face.mp4 are there."""
    assert json.loads((out / "run.json").read_text())["counts"]["shots"] == 3
    assert (out / "report.html").is_file()
    assert len(lines_of(out / "shots.jsonl")) == 3


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_a_reader_that_goes_away(shared: Path, yunet: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    """As `| head -1` does: what was finished is written, and the exit code is not that of a bug."""
    reading, writing = os.pipe()
    os.close(reading)
    film = shared / "videos/single_face.mp4"
    running = process(film, film, "--out", tmp_path / "out", "--config", yunet, *form, stdout=writing)
    os.close(writing)
    _, err = running.communicate(timeout=4 * PATIENCE_S)
    assert (running.returncode, complaints(err)) == (141, [])
    assert_whole(tmp_path / "out/single_face")
    assert not (tmp_path / "out/single_face-2").exists()


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_a_full_disk_behind_standard_output(
    shared: Path, yunet: Path, tmp_path: Path, form: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    with Path("/dev/full").open("wb") as full:
        running = process(
            shared / "videos/single_face.mp4", "--out", out, "--config", yunet, *form, stdout=full
        )
        _, err = running.communicate(timeout=4 * PATIENCE_S)
    assert complaints(err) == ["error: cannot write standard output: no space left on device"]
    assert running.returncode == 23
    assert_whole(out)


@pytest.mark.parametrize("asked", ["--help", "--version", "", "run --help", "models", "models list"])
def test_a_reader_of_help_that_goes_away_or_a_full_disk(asked: str) -> None:
    command = [sys.executable, "-m", "facesieve", *asked.split()]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        23,
        "error: cannot write standard output: no space left on device\n",
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_behind_standard_error(shared: Path, yunet: Path, tmp_path: Path) -> None:
    whole, cut = (shared / "videos/asl/yes.mkv").read_bytes(), tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    buffered = {"PYTHONUNBUFFERED": ""}  # what could not be written is tried again at the end of the process
    for source, code in ((cut, 3), (tmp_path / "none.mkv", 11)):
        with Path("/dev/full").open("wb") as full:
            out = tmp_path / source.stem
            running = process(source, "--out", out, "--config", yunet, stderr=full, environment=buffered)
            running.communicate(timeout=4 * PATIENCE_S)
        assert running.returncode == code
    assert (tmp_path / "cut/report.html").is_file()


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_standard_stream_that_is_closed(shared: Path, yunet: Path, tmp_path: Path, descriptor: int) -> None:
    """A file of the results must not get its number: FFmpeg writes to 2, whatever lies there."""
    film = shared / "videos/single_face.mp4"
    without = f'exec "$@" {descriptor}>&-'
    running = process(film, "--out", tmp_path / "out", "--config", yunet, "--json", begin=without)
    out, err = running.communicate(timeout=4 * PATIENCE_S)
    assert (running.returncode, complaints(err)) == (0, [])
    assert len(out.splitlines()) == (0 if descriptor == 1 else 2)
    assert_whole(tmp_path / "out")


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_names_that_do_not_fit_into_the_encoding(
    shared: Path, yunet: Path, tmp_path: Path, form: tuple[str, ...]
) -> None:
    film = tmp_path / "café.mp4"
    shutil.copy(shared / "videos/single_face.mp4", film)
    ascii_only = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    running = process(film, "--out", tmp_path / "out", "--config", yunet, *form, environment=ascii_only)
    out, err = running.communicate(timeout=4 * PATIENCE_S)
    assert (running.returncode, complaints(err)) == (0, [])
    if form:
        assert json.loads(out.splitlines()[0])["source"] == str(film)
    else:
        assert "caf\\xe9.mp4" in out


def test_ctrl_c_while_the_program_is_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "facesieve.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "facesieve.cli")
    monkeypatch.delattr("facesieve.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        facesieve.__main__.main()
    assert ended.value.code == 130


@pytest.mark.parametrize("address", ["rtsp://user:secret@cam/1", "https://example.org/a.mp4"])
def test_an_address_is_no_file(run: Run, tmp_path: Path, address: str) -> None:
    done = run(address, "--out", tmp_path / "out", "--quiet")
    assert_one_error(done, 2, f"{address.partition('//')[0]}//…: `run` reads files")
    assert "secret" not in done.err


def test_an_empty_name(run: Run, shared: Path, tmp_path: Path) -> None:
    """Of a shell's unset variable; as a path it would be the current folder."""
    assert_one_error(run("", "--out", tmp_path / "out"), 11, "the name of a source, got an empty one")
    done = run(shared / "videos/single_face.mp4", "--out", "")
    assert done.code == 2
    assert "expected a file or folder, got an empty name" in done.err
    store = run(shared / "videos/single_face.mp4", "--out", tmp_path / "out", "--store", "")
    assert_one_error(store, 2, "`identity.store`: ")


def test_names_that_are_no_text(run: Run, shared: Path, yunet: Path, tmp_path: Path) -> None:
    """Linux takes any bytes for a name; people are told apart here, so that a database sees the names too."""
    path, out = tmp_path / "bad\udcff\udcfe.mp4", tmp_path / "out\udcff"
    shutil.copy(shared / "videos/single_face.mp4", path)
    student = tmp_path / "student.toml"
    student.write_text(yunet.read_text().partition("[scorer]")[0])
    done = run(path, "--out", out, config=student)
    assert (done.code, done.err) == (0, "")
    assert (out / "identities.jsonl").is_file()
    assert "\\udcff" in done.out
    store = ("--store", tmp_path / "people.sqlite")
    assert_one_error(
        run(path, "--out", out, "--overwrite", *store, config=student),
        22,
        "out\\udcff: its name is not UTF-8",
    )
    assert run(path, "--out", tmp_path / "plain", *store, config=student).code == 0
