"""Published layouts, each on a tiny copy made here in its true format."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.fiqa.evaluate.chips import read_chips
from facesieve.fiqa.evaluate.open import open_dataset
from facesieve.stream.errors import SourceError, SourceMissing, SourceUnreadable
from facesieve.stream.geometry import ARCFACE_POINTS


def picture(path: Path, size: int = 112, shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size, size, 3), shade, np.uint8))


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def lfw(root: Path) -> Path:
    """Two folds of two matched and two mismatched pairs."""
    for name in ("Al_Gore", "Bo Derek".replace(" ", "_")):
        for number in (1, 2, 3):
            picture(root / "lfw" / name / f"{name}_{number:04d}.jpg")
    fold = ("Al_Gore\t1\t2", "Bo_Derek\t1\t3", "Al_Gore\t1\tBo_Derek\t2", "Al_Gore\t3\tBo_Derek\t1")
    write(root / "pairs.txt", "2\t2", *fold, *fold)
    return root


def cross(root: Path) -> Path:
    for name in ("Al_Gore_0001", "Al_Gore_0002", "Bo_Derek_0001"):
        picture(root / "aligned images" / f"{name}.jpg", shade=10)
        picture(root / "images&landmarks" / "images" / f"{name}.jpg", 250, 200)
        points = [f"{x:.2f} {y:.2f}" for x, y in 2.0 * ARCFACE_POINTS]
        write(root / "images&landmarks" / "CA_landmarks" / f"{name}_5loc_attri.txt", *points)
    tags = ("Al_Gore_0001.jpg 7", "Al_Gore_0002.jpg 7", "Al_Gore_0001.jpg 0", "Bo_Derek_0001.jpg 0")
    write(root / "pairs_CALFW.txt", *tags)
    return root


def cfp(root: Path) -> Path:
    for person in ("001", "002"):
        for kind in ("frontal", "profile"):
            picture(root / "Data" / "Images" / person / kind / "01.jpg")
    for letter, kind in (("F", "frontal"), ("P", "profile")):
        lines = (f"{i} ../Data/Images/{i:03d}/{kind}/01.jpg" for i in (1, 2))
        write(root / "Protocol" / f"Pair_list_{letter}.txt", *lines)
    for fold in ("01", "02"):
        write(root / "Protocol" / "Split" / "FP" / fold / "same.txt", "1,1", "2,2")
        write(root / "Protocol" / "Split" / "FP" / fold / "diff.txt", "1,2", "2,1")
    return root


def ijb(root: Path) -> Path:
    faces = [("1.jpg", 10, 5), ("2.jpg", 10, 6), ("3.jpg", 10, 6), ("4.jpg", 11, 7), ("5.jpg", 20, 8)]
    points = " ".join(f"{v:.3f}" for v in ARCFACE_POINTS.ravel())
    for file, *_ in faces:
        picture(root / "loose_crop" / file, 160)
    write(root / "meta" / "ijbb_face_tid_mid.txt", *(f"{f} {t} {m}" for f, t, m in faces))
    write(root / "meta" / "ijbb_name_5pts_score.txt", *(f"{f} {points} 0.99" for f, *_ in faces))
    write(root / "meta" / "ijbb_template_pair_label.txt", "10 11 1", "10 20 0", "11 20 0")
    return root


def youtube(root: Path) -> Path:
    for person in ("Al_Gore", "Bo_Derek"):
        boxes = []
        for video in (0, 3):
            for frame in (9, 10, 100, 1000):
                picture(root / "frame_images_DB" / person / str(video) / f"{video}.{frame}.jpg", 120)
                boxes.append(f"{person}\\{video}\\{video}.{frame}.jpg,0,60,50,40,44,0.0,1")
        write(root / "frame_images_DB" / f"{person}.labeled_faces.txt", *boxes)
    write(
        root / "splits.txt",
        "split number, pair number in split, first name, second name, is same",
        "1, 1, Al_Gore/0, Al_Gore/3, 1",
        "1, 2, Al_Gore/0, Bo_Derek/3, 0",
    )
    return root


def adience(root: Path) -> Path:
    head = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle"
    head += "\tfiducial_score"
    for fold in range(2):
        rows = []
        for face in (1, 2):
            picture(root / "faces" / "30601258@N03" / f"coarse_tilt_aligned_face.{face}.{fold}_o.jpg", 200)
            rows.append(f"30601258@N03\t{fold}_o.jpg\t{face}\t(25, 32)\tf\t0\t414\t1086\t1383\t-115\t30\t17")
        write(root / f"fold_{fold}_data.txt", head, *rows)
    return root


def packed(root: Path) -> Path:
    _, data = cv2.imencode(".jpg", np.full((112, 112, 3), 9, np.uint8))
    path = root / "lfw.bin"
    root.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(([data.tobytes()] * 6, [True, False, True])))
    return path


def labelled(root: Path) -> Path:
    for i in range(4):
        picture(root / "images" / f"{i}.jpg")
    write(root / "faces.csv", "file,identity,video", *(f"{i}.jpg,p{i // 2},v{i}" for i in range(4)))
    return root


def test_lfw(tmp_path: Path) -> None:
    found = open_dataset(lfw(tmp_path / "set"))
    assert found.layout == "LFW pairs"
    assert found.pairs is not None
    assert found.files[:3] == (
        "Al_Gore/Al_Gore_0001.jpg",
        "Al_Gore/Al_Gore_0002.jpg",
        "Bo_Derek/Bo_Derek_0001.jpg",
    )
    assert found.pairs.same.tolist() == [True, True, False, False] * 2
    assert found.identities[found.pairs.first].tolist() == ["Al_Gore", "Bo_Derek", "Al_Gore", "Al_Gore"] * 2
    assert open_dataset(tmp_path / "set" / "pairs.txt").files == found.files  # the list itself, too


def test_xqlfw_has_its_list_beside_the_images(tmp_path: Path) -> None:
    root = lfw(tmp_path / "XQLFW")
    (root / "lfw").rename(root / "lfw_original_imgs_min_qual0.85variant11")
    (root / "pairs.txt").rename(root / "xqlfw_pairs.txt")
    assert len(open_dataset(root)) == 6


def test_cross_lfw(tmp_path: Path) -> None:
    found = open_dataset(cross(tmp_path / "calfw"))
    assert found.layout == "CALFW"
    assert found.pairs is not None
    assert found.pairs.same.tolist() == [True, False]
    assert found.identities.tolist() == ["Al_Gore", "Al_Gore", "Bo_Derek"]
    chips = next(read_chips(found, np.arange(3), None))
    assert not chips.missing
    assert (
        abs(int(chips.chips[0, 60, 60, 0]) - 200) < 3
    )  # the original by its landmarks, not the aligned copy
    assert chips.eyes_px[0] == pytest.approx(2 * np.hypot(*(ARCFACE_POINTS[1] - ARCFACE_POINTS[0])), abs=0.02)


def test_cfp(tmp_path: Path) -> None:
    found = open_dataset(cfp(tmp_path / "cfp-dataset"))
    assert found.pairs is not None
    assert found.pairs.same.tolist() == [True, True, False, False] * 2
    assert found.files[found.pairs.second[0]] == "001/profile/01.jpg"
    assert found.identities[found.pairs.second].tolist() == ["001", "002", "002", "001"] * 2


def test_ijb(tmp_path: Path) -> None:
    found = open_dataset(ijb(tmp_path / "IJBB"))
    assert found.templates is not None
    assert [r.tolist() for r in found.templates.rows] == [[0, 1, 2], [3], [4]]
    assert found.templates.pairs.same.tolist() == [True, False, False]
    same = found.identities
    assert same[0] == same[3] != same[4]  # templates 10 and 11 are joined by their label
    assert found.templates.media.tolist() == [5, 6, 6, 7, 8]


def test_youtube_faces(tmp_path: Path) -> None:
    found = open_dataset(youtube(tmp_path / "YouTubeFaces"), frames=3)
    assert len(found) == 12
    assert found.files[:3] == ("Al_Gore/0/0.9.jpg", "Al_Gore/0/0.100.jpg", "Al_Gore/0/0.1000.jpg")
    assert found.images[0].box == (60.0, 50.0, 40.0, 44.0)
    assert found.has_tracks()
    assert found.templates is not None
    assert found.templates.pairs.same.tolist() == [True, False]
    first, second = found.templates.pairs.first[1], found.templates.pairs.second[1]
    assert {found.videos[found.templates.rows[t][0]] for t in (first, second)} == {"Al_Gore/0", "Bo_Derek/3"}


def test_adience(tmp_path: Path) -> None:
    found = open_dataset(adience(tmp_path / "Adience"))
    assert found.identities.tolist() == ["1", "2", "1", "2"]
    assert found.files[0] == "30601258@N03/coarse_tilt_aligned_face.1.0_o.jpg"
    assert not found.has_tracks()


def test_packed(tmp_path: Path) -> None:
    found = open_dataset(packed(tmp_path))
    assert found.unit == "pairs"
    assert found.pairs is not None
    assert found.identities[0] == found.identities[1]
    assert found.identities[2] != found.identities[3]
    assert next(read_chips(found, np.arange(6), None)).chips.shape == (6, 112, 112, 3)


def test_faces_csv_keeps_videos_of_two_people_apart(tmp_path: Path) -> None:
    root = labelled(tmp_path / "set")
    write(root / "faces.csv", "file,identity,video", *(f"{i}.jpg,p{i // 2},clip" for i in range(4)))
    assert len(set(open_dataset(root).videos)) == 2


LAYOUTS = (lfw, cross, cfp, ijb, youtube, adience, labelled)
DAMAGE = {
    "lfw": ("pairs.txt", "Al_Gore\t1\t2", "Al_Gore\tone\t2"),
    "cross": ("pairs_CALFW.txt", "Al_Gore_0001.jpg 7", "Al_Gore_0001.jpg"),
    "cfp": ("Protocol/Split/FP/02/diff.txt", "1,2", "1,900"),
    "ijb": ("meta/ijbb_template_pair_label.txt", "10 20 0", "10 99 0"),
    "youtube": ("splits.txt", "Bo_Derek/3, 0", "Bo_Derek/4, 0"),
    "adience": ("fold_1_data.txt", "\t2\t(25", "\t\t(25"),
    "labelled": ("faces.csv", "file,identity", "name,person"),
}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_damage_is_one_error_with_the_path(make: Callable[[Path], Path], tmp_path: Path) -> None:
    root = make(tmp_path / "set")
    name, good, bad = DAMAGE[make.__name__]
    listing = root / name
    text = listing.read_text()
    assert good in text
    listing.write_text(text.replace(good, bad, 1))
    with pytest.raises(SourceUnreadable, match=listing.name):
        open_dataset(root)
    listing.write_bytes(b"\xff\xfe\x00\x01" * 20)
    with pytest.raises(SourceUnreadable, match=listing.name):
        open_dataset(root)
    listing.write_text("")
    with pytest.raises(SourceUnreadable, match=listing.name):
        open_dataset(root)


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_missing_or_broken_image_names_its_path(make: Callable[[Path], Path], tmp_path: Path) -> None:
    root = make(tmp_path / "set")
    found = open_dataset(root)
    source = found.images[1].source
    assert isinstance(source, Path)
    source.write_bytes(b"not an image")
    with pytest.raises(SourceUnreadable, match=source.name):
        list(read_chips(found, np.arange(len(found)), None))
    for copy in root.rglob(source.name):  # other copies of the same image, too
        copy.unlink()
    with pytest.raises(SourceMissing, match=source.name):
        list(read_chips(open_dataset(root) if make is lfw else found, np.arange(len(found)), None))


def test_a_short_list_is_noticed(tmp_path: Path) -> None:
    root = lfw(tmp_path / "set")
    lines = (root / "pairs.txt").read_text().splitlines()
    write(root / "pairs.txt", *lines[:-1])
    with pytest.raises(SourceUnreadable, match=r"expected 8 pairs .* got 7"):
        open_dataset(root)


@pytest.mark.parametrize("line", ["../../etc\t1\t2", "Nobody\t1\t2"])
def test_names_do_not_leave_the_folder(tmp_path: Path, line: str) -> None:
    root = lfw(tmp_path / "set")
    lines = (root / "pairs.txt").read_text().splitlines()
    write(root / "pairs.txt", *lines[:2], line, *lines[3:])
    with pytest.raises(SourceMissing, match="expected an image at"):
        open_dataset(root)


ESCAPES = {
    "cfp": ("Protocol/Pair_list_P.txt", "../Data/Images/002/profile/01.jpg", "../../secret.jpg"),
    "ijb": ("meta/ijbb_*.txt", "3.jpg", "../../secret.jpg"),
    "adience": ("fold_1_data.txt", "30601258@N03\t1_o.jpg\t2", "../../..\t1_o.jpg\t2"),
    "labelled": ("faces.csv", "1.jpg", "../../secret.jpg"),
}


@pytest.mark.parametrize("make", [cfp, ijb, adience, labelled], ids=lambda make: make.__name__)
def test_lists_do_not_lead_out_of_the_folder(make: Callable[[Path], Path], tmp_path: Path) -> None:
    root = make(tmp_path / "set")
    picture(tmp_path / "secret.jpg")
    pattern, good, bad = ESCAPES[make.__name__]
    for listing in root.glob(pattern):
        listing.write_text(listing.read_text().replace(good, bad))
    with pytest.raises(SourceUnreadable, match="expected the name of a file below"):
        open_dataset(root)


def test_a_data_folder_may_be_a_link(tmp_path: Path) -> None:
    root = cfp(tmp_path / "cfp")
    (root / "Data").rename(tmp_path / "elsewhere")
    (root / "Data").symlink_to(tmp_path / "elsewhere")
    found = open_dataset(root)
    assert len(next(read_chips(found, np.arange(len(found)), None)).rows) == 4


def test_lists_of_windows_and_of_a_spreadsheet(tmp_path: Path) -> None:
    """Line ends of Windows, and a byte order mark before the first word."""
    for make in (lfw, cross, cfp, ijb, youtube, adience, labelled):
        root = make(tmp_path / make.__name__)
        files = open_dataset(root).files
        for listing in [*root.rglob("*.txt"), *root.glob("*.csv")]:
            listing.write_bytes(listing.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
        assert open_dataset(root).files == files


def test_what_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"faces\.csv"):
        open_dataset(tmp_path)
    with pytest.raises(SourceMissing):
        open_dataset(tmp_path / "nothing")
    picture(tmp_path / "face.jpg")
    with pytest.raises(SourceError, match=r"face\.jpg"):
        open_dataset(tmp_path / "face.jpg")


def test_images_without_landmarks_need_a_finder(tmp_path: Path) -> None:
    found = open_dataset(adience(tmp_path / "Adience"))
    rows = np.arange(len(found))
    assert next(read_chips(found, rows, None)).missing == (0, 1, 2, 3)
    answers = iter([1.5 * ARCFACE_POINTS, None, 1.5 * ARCFACE_POINTS, np.zeros((5, 2), np.float32)])
    part = next(read_chips(found, rows, lambda image, box: next(answers)))
    assert part.rows.tolist() == [0, 2]
    assert part.missing == (1, 3)
    kept = found.without(np.array([False, True, False, True]))
    assert kept.files == (found.files[0], found.files[2])


def test_dropped_faces_take_their_pairs_and_templates_along(tmp_path: Path) -> None:
    found = open_dataset(ijb(tmp_path / "IJBB")).without(np.array([True, False, False, True, False]))
    assert found.templates is not None
    assert [r.tolist() for r in found.templates.rows] == [[0, 1], [], [2]]
    assert found.templates.pairs.first.tolist() == [0]
    assert found.templates.pairs.same.tolist() == [False]
    pairs = open_dataset(cfp(tmp_path / "cfp")).without(np.array([True, False, False, False])).pairs
    assert pairs is not None
    assert pairs.same.tolist() == [True, False] * 2
