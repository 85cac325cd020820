"""`facesieve score` on folders: nested ones, links, and what cannot be read."""

from __future__ import annotations

import io
import os
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from facesieve.cli import main
from facesieve.config import parse_config
from facesieve.score import (
    Scored,
    as_table,
    expected_faces,
    image_files,
    left_out,
    score_paths,
    write_table,
)
from facesieve.stream.decode.sources import open_source
from facesieve.stream.errors import ModelInvalid, SourceUnreadable
from facesieve.stream.types import Crop, Quality


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
    return path


def test_folders_in_folders_are_read_in_order(tmp_path: Path) -> None:
    made = [picture(tmp_path / name) for name in ("b/2.png", "a.png", "b/c/1.png", "c.png")]
    assert image_files(tmp_path) == sorted(made)


def test_links_are_followed_nowhere_but_inside(tmp_path: Path) -> None:
    inside, outside = picture(tmp_path / "in/a.png"), picture(tmp_path / "out/secret.png")
    (tmp_path / "in/same.png").symlink_to(inside)
    (tmp_path / "in/stolen.png").symlink_to(outside)
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "in/nothing.png")
    (tmp_path / "in/long.png").symlink_to("n" * 300 + ".png")  # as one into a folder that is closed
    os.mkfifo(tmp_path / "in/pipe.png")
    assert [path.name for path in image_files(tmp_path / "in")] == ["a.png", "same.png"]
    assert [(path.name, why) for path, why in left_out(tmp_path / "in")] == [
        ("gone.png", "a link that leads nowhere"),
        ("long.png", "cannot be read (File name too long)"),
        ("pipe.png", "not a regular file"),
        ("stolen.png", "a link that leads out of the folder"),
    ]


def test_hidden_files_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    seen = picture(tmp_path / "in/a.png")
    for name in ("._a.png", ".thumbnails/a.png", "b/.hidden.png"):
        picture(tmp_path / "in" / name)
    assert image_files(tmp_path / "in") == [seen]
    assert left_out(tmp_path / "in") == []
    assert image_files(tmp_path / "in/.thumbnails") == [tmp_path / "in/.thumbnails/a.png"]


def test_nobody_waits_for_what_a_pipe_may_bring(tmp_path: Path, shared: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    too_long = tmp_path / ("n" * 300 + ".png")
    config = parse_config(
        {
            "detector": {"kind": "yunet", "weights": shared / "models/yunet_n_dynamic.onnx"},
            "scorer": {"kind": "analytical"},
        },
        "test",
    )
    for path in (tmp_path, tmp_path / "pipe.png"):
        (row,) = score_paths([path], config)
        assert (row.file, row.reason) == (str(tmp_path / "pipe.png"), "not a regular file")
    (row,) = score_paths([too_long], config)
    assert row.reason == "cannot be read (File name too long)"
    assert expected_faces([too_long]) == 1
    with (
        open_source(str(tmp_path / "pipe.png")) as source,
        pytest.raises(SourceUnreadable, match=r"pipe\.png: not a regular file"),
    ):
        list(source)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "closed"))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceUnreadable, match=r"closed: cannot be read: Permission denied"):
        image_files(tmp_path)


def test_what_is_scored_is_named_by_its_path_from_where_one_stands(tmp_path: Path, shared: Path) -> None:
    picture(tmp_path / "blank/deep/none.png")
    (tmp_path / "blank/notes.txt").write_text("not an image")
    (tmp_path / "blank/empty.png").touch()
    (tmp_path / "blank/link.png").symlink_to(picture(tmp_path / "elsewhere.png"))
    weights = shared / "models/yunet_n_dynamic.onnx"
    config = parse_config(
        {"detector": {"kind": "yunet", "weights": weights}, "scorer": {"kind": "analytical"}}, "test"
    )
    reasons = {
        os.path.relpath(row.file, tmp_path): row.reason for row in score_paths([tmp_path / "blank"], config)
    }
    assert reasons == {
        "blank/deep/none.png": "no face found",
        "blank/empty.png": "the file is empty (0 bytes)",
        "blank/notes.txt": "not an image that FFmpeg can read",
        "blank/link.png": "a link that leads out of the folder",
    }
    assert expected_faces([tmp_path / "blank", tmp_path / "elsewhere.png"]) == 5


def test_a_table_without_landmarks_names_images_whose_face_is_found(tmp_path: Path, shared: Path) -> None:
    """As in a folder without a table, the largest central face; a chip is taken as it is."""
    (tmp_path / "images").mkdir()
    photo = next((shared / "data/lfw-train/images").glob("*/*.jpg"))
    shutil.copy(photo, tmp_path / "images/photo.jpg")
    picture(tmp_path / "images/wall.png")
    cv2.imwrite(str(tmp_path / "images/chip.png"), np.full((112, 112, 3), 90, np.uint8))
    (tmp_path / "faces.csv").write_text("file,identity\nphoto.jpg,a\nwall.png,b\nchip.png,c\n")
    weights = shared / "models/yunet_n_dynamic.onnx"
    config = parse_config(
        {"detector": {"kind": "yunet", "weights": weights}, "scorer": {"kind": "analytical"}}, "test"
    )
    photo_row, wall, chip = score_paths([tmp_path], config)
    (alone,) = score_paths([photo], config)
    assert (photo_row.file, wall.reason) == ("photo.jpg", "no face found")
    assert photo_row.quality is not None
    assert photo_row.quality == alone.quality
    assert chip.quality is not None


def test_a_network_of_other_images_is_no_quality_network(tmp_path: Path, shared: Path) -> None:
    """This one would run on any size and number of channels."""
    path = tmp_path / "small.onnx"
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["quality"], axes=[1, 2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 96, 96])],
        [helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["n"])],
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    config = parse_config(
        {
            "detector": {"kind": "yunet", "weights": shared / "models/yunet_n_dynamic.onnx"},
            "scorer": {"kind": "student", "weights": path},
        },
        "test",
    )
    wanted = r"small\.onnx: expected an input \(\?, 3, 112, 112\), the file has \(\?, 3, 96, 96\)"
    with pytest.raises(ModelInvalid, match=wanted):
        list(score_paths([tmp_path], config))


@pytest.mark.parametrize(
    "arguments",
    [
        "score ''",
        "report ''",
        "export ''",
        "export . --out ''",
        "match . --gallery ''",
        "match '' --gallery .",
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["facesieve", *shlex.split(arguments)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "empty name" in capsys.readouterr().err


def test_a_film_is_no_image(tmp_path: Path, shared: Path) -> None:
    config = parse_config(
        {
            "detector": {"kind": "yunet", "weights": shared / "models/yunet_n_dynamic.onnx"},
            "scorer": {"kind": "analytical"},
        },
        "test",
    )
    (row,) = score_paths([shared / "videos/carphone_pristine.mp4"], config)
    assert row.quality is None
    assert row.reason.startswith("not an image of a kind that is read here (.bmp ")


def test_a_factor_and_a_component_of_one_name_have_a_column_each() -> None:
    both = Quality(1.0, "m", factors={"sharpness": 0.25, "size": 0.5}, components={"sharpness": 80.0})
    columns, rows = as_table([Scored("d", "a.jpg", both)])
    assert list(columns)[3:] == ["factor_sharpness", "size", "sharpness"]
    assert rows[0][3:] == [0.25, 0.5, 80.0]


def test_a_table_has_the_columns_that_some_face_fills() -> None:
    """CSV and Parquet are made of the same rows; what a face lacks is empty there."""
    whole = Quality(
        0.123456789123, "m@1", calibrated=0.5, factors={"sharp": 2.0}, components={"yaw_deg": -3.0}
    )
    bare = Quality(1.0, "m@1")
    scored = [Scored("d", "a.jpg", whole), Scored("d", "b.jpg", None, "no face"), Scored("d", "c.jpg", bare)]
    columns, rows = as_table(scored)
    assert list(columns) == ["file", "score", "model", "calibrated", "sharp", "yaw_deg"]
    assert rows == [["a.jpg", 0.123456789123, "m@1", 0.5, 2.0, -3.0], ["c.jpg", 1.0, "m@1", None, None, None]]
    text = io.StringIO()
    write_table(scored, text)
    assert text.getvalue().splitlines() == [
        ",".join(columns), "a.jpg,0.123456789,m@1,0.5,2,-3", "c.jpg,1,m@1,,,",
    ]  # fmt: skip


def test_a_bare_chip_is_a_crop() -> None:
    points = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)
    crop = Crop.of_chip(np.zeros((112, 112, 3), np.uint8), points, index=7, truncated=0.25)
    assert (crop.track, crop.frame_index, crop.eye_distance_px, crop.truncated) == (0, 7, 40.0, 0.25)
    np.testing.assert_array_equal(crop.box, [30, 40, 70, 80])
    assert Crop.of_chip(crop.chip, points, eye_distance_px=12.5).eye_distance_px == 12.5
