"""`facesieve validate` on real faces: a run that kept the best passes, one that kept the worst does not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from facesieve.fiqa.diffiqa import Diffusion, UNet
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.recognisers import load_recogniser
from facesieve.fiqa.teachers import FaceQAN, FaceQANSettings
from facesieve.fiqa.validate.cli import validate
from facesieve.fiqa.validate.report import as_html, as_json
from facesieve.fiqa.validate.run import Plan, Validation, validate_run
from facesieve.stream.errors import ConfigError, NoFrames, SourceMissing
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.sinks import CandidateArchive, FolderSink
from facesieve.stream.types import Crop, Quality, TrackEnd

PEOPLE = 3
FRAMES = 8
BLUR_PX = (0.0, 0.6, 1.0, 1.4, 1.8, 2.4, 3.2, 4.4)
POINTS = np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]], np.float32)


def write_run(out: Path, shared: Path, *, best: bool) -> None:
    """A run of PEOPLE in one picture, FRAMES long, that blur; scored by sharpness, or the other way round."""
    faces = read_faces(shared / "data" / "lfw-train")
    chips = aligned_chips(faces.take(list(range(100, 100 + 40 * PEOPLE, 40))))
    selector = TopKSelector(SelectionPolicy(top_k=1), source="blur")
    with FolderSink(out) as sink, CandidateArchive(out, min_gap_s=0.5) as archive:
        for frame, blur in enumerate(BLUR_PX):
            for track, chip in enumerate(chips):
                shown = cv2.GaussianBlur(chip, (0, 0), blur) if blur else chip
                box = np.array([0, 0, 112, 112], np.float32)
                crop = Crop(
                    track, frame, float(frame), None, shown, None, (0, 0), box, POINTS, 0.9, 35.0, 0.0
                )
                quality = Quality(-blur if best else blur, "sharp-1")
                archive.offer(crop, quality, selector.offer(crop, quality))
        for track in range(PEOPLE):
            result = selector.end(track, TrackEnd.END_OF_SOURCE)
            assert result is not None
            archive.settle(result)
            sink.write(result)
        archive.finish()
        sink.finish({"source": {"name": "blur"}})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> dict[bool, Path]:
    folders = {}
    for best in (True, False):
        folders[best] = tmp_path_factory.mktemp("run") / "out"
        write_run(folders[best], shared, best=best)
    return folders


@pytest.fixture(scope="module")
def recogniser(shared: Path) -> Path:
    torch.set_num_threads(1)
    return shared / "models" / "mobilefacenet_foamliu.pt"


@pytest.fixture(scope="module")
def validations(runs, recogniser: Path) -> dict[bool, Validation]:
    network = load_recogniser(recogniser)
    teacher = FaceQAN(network, FaceQANSettings(copies=1, steps=2))
    plan = Plan(others=100, fmr=0.02, batch=8)
    return {best: validate_run(runs[best], teacher, network, recogniser, plan) for best in (True, False)}


def test_a_run_that_kept_the_sharpest_passes(validations) -> None:
    good = validations[True]
    assert good.verdict.line.startswith("PASS: spearman ")
    assert good.agreement.within is not None
    assert good.agreement.within.value > 0.4
    assert good.regret is not None
    assert good.regret.share is not None
    assert good.regret.share.value < 0.6


def test_a_run_that_kept_the_most_blurred_fails_on_every_count(validations) -> None:
    bad = validations[False]
    assert re.fullmatch(
        r"FAIL: spearman -0\.\d+ < 0\.2; regret [12]\.\d+ > 0\.9; recognition error rise at least 0\.\d+ > 0",
        bad.verdict.line,
    )


def test_the_recogniser_gains_by_sharp_frames(validations) -> None:
    rises = {best: v.recognition.rise.value for best, v in validations.items()}
    assert rises[True] <= 0 < rises[False]


def test_both_saw_the_same_faces_and_scored_them_equally(validations) -> None:
    """The teacher's noise hangs on track and frame only."""
    np.testing.assert_array_equal(validations[True].sample.rows, validations[False].sample.rows)
    np.testing.assert_array_equal(validations[True].teacher, validations[False].teacher)


def test_the_reports_hold_the_figures_and_nothing_from_outside(validations) -> None:
    good = validations[True]
    data = json.loads(json.dumps(as_json(good), allow_nan=False))
    assert data["schema"] == "facesieve.validation/1"
    assert data["passed"] is True
    assert len(data["faces"]) == PEOPLE * FRAMES
    assert data["sample"] == {"seed": 0, "candidates": 24, "kept": 3, "others": 21, "tracks": 3}
    page = as_html(good)
    assert page == as_html(good)
    assert page.count("<svg") == 3
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert good.verdict.line in page.replace("&lt;", "<").replace("&gt;", ">")
    assert "Most regret" in as_html(validations[False])


def test_names_are_escaped(validations) -> None:
    settings = {"method": "<script>"}
    assert "<script>" not in as_html(replace(validations[True], settings=settings, student="<script>"))


def test_the_command_writes_both_files_and_its_exit_code_is_the_verdict(
    runs, recogniser: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command()(validate)
    common = ["--fr", str(recogniser), "--copies", "1", "--sample", "5", "--threads", "1"]
    for best, code, word in ((True, 0, "PASS"), (False, 4, "FAIL")):
        done = CliRunner().invoke(app, [str(runs[best]), *common])
        assert done.exit_code == code, done.output
        assert done.output.splitlines()[-1].startswith(f"{word}: ")
        assert (
            json.loads((runs[best] / "validation.json").read_text())["verdict"]
            == done.output.splitlines()[-1]
        )
    strict = CliRunner().invoke(
        app, [str(runs[True]), *common, "--min-spearman", "1", "--out", str(tmp_path / "v")]
    )
    assert strict.exit_code == 4
    assert (tmp_path / "v" / "validation.html").stat().st_mode & 0o777 == 0o600
    FolderSink(runs[False], overwrite=True).close()
    assert not (runs[False] / "validation.json").exists()


def test_a_run_without_candidates_says_what_to_do(runs, recogniser: Path, tmp_path: Path) -> None:
    network = load_recogniser(recogniser)
    with FolderSink(tmp_path) as sink:
        sink.finish({})
    with pytest.raises(SourceMissing, match="--keep-candidates"):
        validate_run(tmp_path, FaceQAN(network), network, recogniser, Plan())
    with CandidateArchive(tmp_path, min_gap_s=0.5) as archive:
        archive.finish()
    with pytest.raises(NoFrames, match="nothing to validate"):
        validate_run(tmp_path, FaceQAN(network), network, recogniser, Plan())


def test_a_run_of_several_sources_names_one_to_give(recogniser: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        with FolderSink(tmp_path / name) as sink:
            sink.finish({})
    network = load_recogniser(recogniser)
    with pytest.raises(SourceMissing, match=r"several sources: give one, such as '.*/a'"):
        validate_run(tmp_path, FaceQAN(network), network, recogniser, Plan())


def test_diffiqa_teaches_where_its_unet_is_given(runs, recogniser: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(validate)
    torch.manual_seed(0)
    torch.save({"model": Diffusion(UNet(8, (1, 1, 1, 2))).state_dict()}, tmp_path / "unet.pt")
    common = [str(runs[True]), "--fr", str(recogniser), "--method", "diffiqa", "--threads", "1"]
    common += ["--copies", "1", "--sample", "2", "--tracks", "1"]
    without = CliRunner().invoke(app, common)
    assert isinstance(without.exception, ConfigError)
    CliRunner().invoke(app, [*common, "--diffusion", str(tmp_path / "unet.pt"), "--out", str(tmp_path)])
    data = json.loads((tmp_path / "validation.json").read_text())
    assert data["teacher"]["method"] == "diffiqa"
    assert len(data["faces"]) == 1 + 2
    assert all(-1 <= face["teacher"] <= 1 for face in data["faces"])
