from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.decode import ImageSource, VideoSource, container, open_source, printable, slug
from facesieve.stream.errors import NotVideo, SourceEmpty, SourceError, SourceMissing, SourceUnreadable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("p10.jpg", "p2.PNG", "p1.jpg", ".hidden.jpg", "notes.txt"):
        data = b"words"
        if name != "notes.txt":
            image = np.full((40, 30 + len(name), 3), 90, np.uint8)
            data = cv2.imencode(Path(name).suffix.lower(), image)[1].tobytes()
        (folder / name).write_bytes(data)
    (folder / "below.jpg").mkdir()
    return folder


def test_folders_globs_and_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(folder))
    assert isinstance(source, ImageSource)
    assert (source.name, source.stills) == ("album", True)
    assert [f.picture.width for f in source] == [36, 36, 37]  # p1.jpg, p2.PNG, p10.jpg
    assert len(list(open_source(str(folder / "p*.jpg"), image_fps=25))) == 2
    one = open_source(str(folder / "p1.jpg"))
    assert one.name == "p1.jpg"
    assert len(list(one)) == 1
    monkeypatch.chdir(folder)
    assert open_source(".").name == "album"


def test_videos(clip: Callable[..., Path]) -> None:
    path = clip("v[1].mp4")  # a name that is also a pattern
    with open_source(str(path), threads=1) as source:
        assert isinstance(source, VideoSource)
        assert (source.name, source.stills) == ("v[1].mp4", False)
        assert len(list(source)) == 10


def test_standard_input(clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip("v.mkv")
    with path.open("rb") as file, io.TextIOWrapper(io.BufferedReader(file.raw)) as text:
        monkeypatch.setattr(sys, "stdin", text)
        source = open_source("-")
        assert source.name == "stdin"
        assert len(list(source)) == 10
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceUnreadable, match="standard input"):
        open_source("-")


def test_an_empty_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    readable, writable = os.pipe()
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe, pytest.raises(SourceEmpty, match="no data came"):
        VideoSource(pipe)


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ("nothing.mp4", "no such file"),
        ("nothing.jpg", "no such file"),
        ("*.jpg", "no image matches this pattern"),
        ("*.txt", "files of other kinds that do: 1; name them"),
        ("empty", r"no image in this folder \(it holds nothing\)"),
        ("rtsp://camera/stream", "no such file"),
        ("", "no image in this folder"),
        ("new\nline", r"new\\nline: no such file"),
    ],
)
def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, cause: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("words")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceMissing, match=cause):
        list(open_source(spec))


def test_a_nul_in_a_name() -> None:
    with pytest.raises((SourceMissing, SourceUnreadable)):
        open_source("a\0b.mp4")


@pytest.mark.parametrize(
    ("number", "error"), [(13, SourceUnreadable), (5, SourceUnreadable), (36, SourceMissing)]
)
def test_what_the_system_refuses(
    clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, number: int, error: type[SourceError]
) -> None:
    path = clip("v.mp4")

    def refuse(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(container, "_open_file", refuse)
    with pytest.raises(error, match=os.strerror(number)) as caught:
        open_source(str(path))
    assert type(caught.value) is error


def test_text_that_calls_itself_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a film\n" * 50)
    with pytest.raises(NotVideo):
        open_source(str(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("lobby.mp4", "lobby"),
        ("/videos/2024.05.01 front.mkv", "2024.05.01_front_53a16b3a"),
        ("-", "stdin"),
        ("Größe.mp4", "Größe"),
    ],
)
def test_slug(spec: str, expected: str) -> None:
    found = slug(spec)
    assert found.rsplit("_", 1)[0] == expected.rsplit("_", 1)[0]


@given(
    st.text()
    | st.sampled_from(["..", "../../etc/passwd", "/", ".", "", "a/..", "\n", "é" * 200, ".x", "\udce9"])
)
def test_slugs_are_safe(spec: str) -> None:
    found = slug(spec)
    assert found == slug(spec)
    assert 1 <= len(found.encode()) <= 80
    assert not found.startswith(".")
    assert not set(found) & set('/\\\0\n\r:*?"<>| ')
    assert all(unicodedata.category(c)[0] != "C" for c in found)


@given(st.text(min_size=1))
def test_printable_is_one_line_of_visible_characters(name: str) -> None:
    shown = printable(name)
    assert len(shown) <= 201
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    assert len(shown.splitlines()) <= 1


def test_different_hostile_names_get_different_folders() -> None:
    assert slug("a/b?c.mp4") != slug("a/b*c.mp4")
    assert slug("x" * 300 + "1.mp4") != slug("x" * 300 + "2.mp4")
