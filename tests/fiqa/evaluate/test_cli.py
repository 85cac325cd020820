"""`facesieve evaluate` and `facesieve calibrate` as their users meet them."""

from __future__ import annotations

import base64
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from facesieve.engines.models.students import Calibration
from facesieve.fiqa.evaluate import cli, columns, timing
from facesieve.fiqa.tables import read_scored, write_parquet
from facesieve.stream.errors import ConfigError, OutputUnwritable, SourceError, SourceUnreadable

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = 0.003

app = typer.Typer()
app.command("evaluate")(cli.evaluate)
app.command("calibrate")(cli.calibrate)


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def pooled_network(path: Path, output: str) -> Path:
    """A graph of chips in: `embedding` the coarse picture, or `quality` its mean brightness."""
    nodes = [
        helper.make_node("Cast", ["chips"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["small"], kernel_shape=[14, 14], strides=[14, 14]),
    ]
    if output == "embedding":
        constant = numpy_helper.from_array(np.array(128.0, np.float32), "middle")
        nodes.append(helper.make_node("Sub", ["small", "middle"], ["centred"]))
        nodes.append(helper.make_node("Flatten", ["centred"], ["embedding"]))
    else:
        constant = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
        nodes.append(helper.make_node("ReduceMean", ["small", "axes"], ["quality"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        output,
        [helper.make_tensor_value_info("chips", TensorProto.UINT8, ["n", 112, 112, 3])],
        [
            helper.make_tensor_value_info(
                output, TensorProto.FLOAT, ["n", 192] if output == "embedding" else ["n"]
            )
        ],
        [constant],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Chips of 12 people, 3 videos of 3 frames each: a pattern of the person, and noise."""
    folder = tmp_path / "clips <b>&"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["file,identity,video,h"]
    for person in range(12):
        pattern = np.kron(rng.normal(0, 20, (8, 8, 3)), np.ones((14, 14, 1)))
        for video in range(3):
            for frame in range(3):
                noise = rng.uniform(0, 90)
                blocks = np.kron(rng.normal(0, noise, (8, 8, 3)), np.ones((14, 14, 1)))
                image = np.clip(128 + pattern + blocks, 0, 255).astype(np.uint8)
                name = f"{person}_{video}_{frame}.png"
                cv2.imwrite(str(folder / "images" / name), image)
                rows.append(f"{name},person {person},{video},{100 - noise:.2f}")
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def recogniser(tmp_path: Path) -> Path:
    return pooled_network(tmp_path / "judge.onnx", "embedding")


@pytest.fixture
def table(tmp_path: Path, faces: Path) -> Path:
    """Scores that know the noise; one face has none."""
    path = tmp_path / "noise.csv"
    with (faces / "faces.csv").open() as source, path.open("w") as target:
        rows = list(csv.DictReader(source))
        lines = [f"{row['file']},{row['h']},by hand" for row in rows[1:]]
        target.write("\n".join(["file,score,model", *lines]) + "\n")
    return path


def plots(page: str) -> Iterator[str]:
    for data in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page):
        yield base64.b64decode(data).decode()


def test_evaluate(tmp_path: Path, faces: Path, recogniser: Path, table: Path) -> None:
    brightness = pooled_network(tmp_path / "bright.onnx", "quality")
    common = ("--fr", f"one={recogniser}", "--fr", f"two={recogniser}", "--cache", tmp_path / "cache")
    scores = ("--scores", f"<script>$x$={table}", "--scorer", f"bright={brightness}")
    marks = ("--made-by", "bright=one", "--fmr", 0.05, "--fmr", 0.01, "--resamples", 5)
    call("evaluate", faces, *common, *scores, *marks, "--out", tmp_path / "a")
    found = json.loads((tmp_path / "a" / "evaluation.json").read_text())["datasets"][0]
    assert (found["faces"], found["people"], found["not_aligned"]) == (108, 12, 0)
    assert found["unscored"] == {"<script>$x$": 1}
    judged = {(r["recogniser"], r["fmr"]): r for r in found["recognisers"]}
    assert set(judged) == {("one", 0.05), ("one", 0.01), ("two", 0.05), ("two", 0.01)}
    first = judged["one", 0.05]
    assert first["genuine_pairs"] == 12 * 3 * 9
    assert list(first["scores"]) == [
        *("bright", "Laplacian variance", "face height", "<script>$x$", "random", "oracle"),
    ]
    assert first["scores"]["bright"]["comparison"] == "same-model"
    assert judged["two", 0.05]["scores"]["bright"]["comparison"] == "cross-model"
    assert first["scores"]["face height"]["comparison"] == "independent"
    assert first["scores"]["face height"]["pauc30"]["value"] < 0.9
    assert first["scores"]["face height"]["gap_closed"]["value"] > 0.3
    assert first["scores"]["<script>$x$"]["template_fnmr"].keys() == {"1", "3", "5"}
    assert found["spearman"]["face height"]["<script>$x$"] == pytest.approx(1.0)
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 3  # one embedding for both names, brightness, Laplacian
    call("evaluate", faces, *common, *scores, *marks, "--out", tmp_path / "b")
    for name in ("evaluation.json", "evaluation.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted((tmp_path / "cache").iterdir()) == kept


def test_where_nothing_fails_the_page_says_so(tmp_path: Path, faces: Path, recogniser: Path) -> None:
    """No empty plots: without an error there is no curve and no area."""
    common = ("--fr", f"one={recogniser}", "--resamples", 2, "--cache", tmp_path / "cache")
    pages = []
    for fmr in (0.05, 0.9999):
        call("evaluate", faces, *common, "--fmr", fmr, "--out", tmp_path / str(fmr))
        pages.append((tmp_path / str(fmr) / "evaluation.html").read_text())
    assert ["No comparison of one person fails" in page for page in pages] == [False, True]
    assert [page.count('alt="gap closed with intervals"') for page in pages] == [1, 0]
    assert len(list(plots(pages[0]))) - len(list(plots(pages[1]))) == 3


def test_the_page_needs_nothing_and_runs_nothing(
    tmp_path: Path, faces: Path, recogniser: Path, table: Path
) -> None:
    name = '"><script>alert(1)</script>'
    options = (
        "--fr",
        f"$judge$={recogniser}",
        "--scores",
        f"{name}={table}",
        "--resamples",
        2,
        "--fmr",
        0.05,
    )
    call("evaluate", faces, *options, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "<script" not in page
    assert "clips &lt;b&gt;&amp;" in page
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)=.(?!data:image/)", page) == []
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    drawn = list(plots(page))
    assert len(drawn) == 5
    for svg in drawn:
        assert re.findall(r'href="(?!#|data:image/png)', svg) == []
        assert "<script" not in svg
        assert set(re.findall('https?://[^" ]+', svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
    assert page.count('src="data:image/jpeg;base64,') == 3 * 16
    assert len(page) < 1_000_000


def test_times(tmp_path: Path, faces: Path, recogniser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "faceqan_seconds", partial(timing.faceqan_seconds, copies=(2, 3)))
    brightness = pooled_network(tmp_path / "bright.onnx", "quality")
    options = ("--fr", recogniser, "--scorer", f"<i>={brightness}", "--resamples", 2, "--fmr", 0.05, "--time")
    call("evaluate", faces, *options, "--out", tmp_path / "out")
    cost = json.loads((tmp_path / "out" / "evaluation.json").read_text())["runtime"]
    assert cost["networks"]["<i>"]["parameters"] == 0
    assert cost["networks"]["<i>"]["single_ms"] > 0
    assert cost["networks"]["<i>"]["batch_ms"] > 0
    assert cost["faceqan_s"].keys() == {"2", "3"}
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "What it costs" in page
    assert "<i>" not in page


def test_parameters_are_those_of_the_graph(tmp_path: Path) -> None:
    assert timing.parameters(pooled_network(tmp_path / "e.onnx", "embedding")) == 1  # the constant 128


def test_published_pairs_and_templates_go_through(tmp_path: Path, faces: Path, recogniser: Path) -> None:
    """The same chips as a list of pairs, and as YouTube Faces."""
    for person in range(12):
        for video in range(3):
            for frame in range(3):
                data = (faces / "images" / f"{person}_{video}_{frame}.png").read_bytes()
                number = video * 3 + frame + 1
                still = tmp_path / "lfw" / "imgs" / f"P{person}" / f"P{person}_{number:04d}.png"
                shot = (
                    tmp_path / "ytf" / "frame_images_DB" / f"P{person}" / str(video) / f"{video}.{frame}.png"
                )
                for path in (still, shot):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
    pairs = [f"P{i}\t{a}\t{b}" for i in range(12) for a, b in ((1, 5), (2, 8), (3, 9))]
    pairs += [f"P{i}\t{a}\tP{(i + a) % 12}\t{a}" for i in range(12) for a in (1, 2, 3)]
    (tmp_path / "lfw" / "pairs.txt").write_text("\n".join(pairs) + "\n")
    splits = ["split number, pair number, first name, second name, is same"]
    splits += [f"1, {i}, P{i}/0, P{i}/1, 1" for i in range(12)]
    splits += [f"1, {i}, P{i}/0, P{(i + 1) % 12}/1, 0" for i in range(12)]
    (tmp_path / "ytf" / "splits.txt").write_text("\n".join(splits) + "\n")
    options = ("--fr", recogniser, "--fmr", 0.1, "--resamples", 5, "--out", tmp_path / "out")
    call("evaluate", tmp_path / "lfw", tmp_path / "ytf", *options)
    lfw, ytf = json.loads((tmp_path / "out" / "evaluation.json").read_text())["datasets"]
    assert lfw["recognisers"][0]["genuine_pairs"] == 36
    assert "tracks" not in lfw["recognisers"][0]
    assert "picked_fnmr" not in lfw["recognisers"][0]["scores"]["oracle"]
    assert ytf["recognisers"][0]["tracks"].keys() == {"random_fnmr", "oracle_fnmr"}
    templates = ytf["recognisers"][0]["templates"]
    assert templates["quality_weighted_fnmr"].keys() == {"Laplacian variance"}
    assert 0 <= templates["plain_fnmr"] <= 1


def test_calibrate(tmp_path: Path, faces: Path, recogniser: Path, table: Path) -> None:
    out = tmp_path / "judge.calibration.json"
    said = call("calibrate", "--fr", recogniser, "--faces", faces, "--scorer", table, "--fmr", 0.05,
                "--target-fnmr", 0.3, "--target-fnmr", 1e-3, "--out", out)  # fmt: skip
    made = Calibration.beside(out.with_suffix(".onnx"))
    assert made is not None
    assert 0 < made(5.0) < made(95.0) < 1
    content = json.loads(out.read_text())
    assert np.diff(content["calibration"]["raw"]).min() > 0
    assert np.diff(content["calibration"]["probability"]).min() > 0
    reached, beyond = content["suggestions"]
    assert reached["min_quality"]["fnmr"] <= 0.3
    assert beyond["min_quality"] is None
    assert "min_quality ≥" in said
    assert "not reached" in said
    assert (tmp_path / "judge.calibration.svg").read_text().lstrip().startswith("<svg")


def test_calibrate_runs_a_network(tmp_path: Path, faces: Path, recogniser: Path) -> None:
    brightness = pooled_network(tmp_path / "bright.onnx", "quality")
    out = tmp_path / "c.json"
    call(
        "calibrate", "--fr", recogniser, "--faces", faces, "--scorer", brightness, "--fmr", 0.05, "--out", out
    )
    assert json.loads(out.read_text())["scorer"].startswith("scorer ")


@pytest.mark.parametrize(
    ("extra", "error", "what"),
    [
        (("--fmr", 2), ConfigError, "between 0 and 1"),
        (("--scores", "nothing.csv"), SourceError, r"nothing\.csv"),
        (("--scorer", "nothing.onnx"), SourceError, r"nothing\.onnx"),
        (("--scores", "oracle=nothing.csv"), ConfigError, "'oracle' twice"),
        (("--made-by", "x=judge"), ConfigError, "no score has this name"),
        (("--scorer", "x=nothing.onnx", "--made-by", "x=other"), ConfigError, "none of the recognisers"),
        (("--scores", "a=1.csv", "--scores", "a=2.csv"), ConfigError, "one for each of the 1"),
        (("--fr-preprocessing", "purple"), ConfigError, "expected imagenet"),
        (("--fr-preprocessing", "other=imagenet"), ConfigError, "has this name"),
        (("--fr", "again=nothing.pt"), SourceError, r"nothing\.pt"),
        (("--lightqnet", "nothing.pb"), SourceError, r"nothing\.pb"),
    ],
)
def test_wrong_usage(
    faces: Path,
    recogniser: Path,
    extra: tuple[object, ...],
    error: type[Exception],
    what: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=what):
        call("evaluate", faces, "--fr", recogniser, *extra, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_told_before_any_face_is_measured(
    tmp_path: Path, faces: Path, recogniser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("measured first")

    monkeypatch.setattr(columns, "measure", never)
    (tmp_path / "file").touch()
    for extra, error in (
        (("--out", tmp_path / "file"), OutputUnwritable),
        (("--scores", "x.csv"), SourceError),
    ):
        with pytest.raises(error):
            call("evaluate", faces, "--fr", recogniser, *extra)


def test_calibrate_takes_parquet_and_makes_its_folder(
    tmp_path: Path, faces: Path, recogniser: Path, table: Path
) -> None:
    parquet = tmp_path / "noise.parquet"
    write_parquet(parquet, {"file": str, "score": float}, read_scored(table))
    made = [tmp_path / name / "c.json" for name in ("a", "b")]
    for scores, out in zip((table, parquet), made, strict=True):
        call(
            "calibrate", "--fr", recogniser, "--faces", faces, "--scorer", scores, "--fmr", 0.05, "--out", out
        )
    first, second = (json.loads(out.read_text())["calibration"] for out in made)
    assert first == second


def test_a_set_of_one_person_is_refused(tmp_path: Path, faces: Path, recogniser: Path, table: Path) -> None:
    text = re.sub(r"person \d+", "one", (faces / "faces.csv").read_text())
    (faces / "faces.csv").write_text(text)
    with pytest.raises(SourceUnreadable, match="different people"):
        call("evaluate", faces, "--fr", recogniser, "--out", tmp_path / "out")
    with pytest.raises(SourceUnreadable, match="different people"):
        call("calibrate", "--fr", recogniser, "--faces", faces, "--scorer", table)


def test_mounting_costs_nothing() -> None:
    code = "import sys, facesieve.fiqa.evaluate.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"torch", "matplotlib", "scipy", "onnx", "onnxruntime"} & set(loaded)


@pytest.mark.slow
def test_reference_figures(tmp_path: Path, shared: Path) -> None:
    """The figures computed independently on real video frames (FMR 1e-3), through the command itself."""
    models = shared / "models"
    options = ("--lightqnet", models / "lightqnet-dm100.pb", "--resamples", 2, "--out", tmp_path / "out")
    call("evaluate", shared / "data" / "ytf-dev", "--fr", models / "mobilefacenet_foamliu.onnx", *options)
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["datasets"][0]["recognisers"][0]
    assert found["fnmr"] == pytest.approx(0.2735, abs=TOLERANCE)
    assert found["tracks"]["random_fnmr"] == pytest.approx(0.2726, abs=TOLERANCE)
    expected = {
        "face height": (0.2471, 0.2248, 0.2166, 0.903, 0.871, 0.2414),
        "Laplacian variance": (0.2456, 0.2245, 0.2028, 0.906, 0.866, 0.2523),
        "LightQNet": (0.2280, 0.1943, 0.1689, 0.843, 0.784, 0.2336),
        "oracle": (0.1959, 0.1192, 0.0697, 0.715, 0.590, 0.1308),
    }
    for name, figures in expected.items():
        row = found["scores"][name]
        got = [row["fnmr_at_discard"][share] for share in ("0.1", "0.2", "0.3")]
        got += [row[key]["value"] for key in ("pauc20", "pauc30", "picked_fnmr")]
        assert got == pytest.approx(figures, abs=TOLERANCE), name
    assert found["scores"]["random"]["pauc30"]["value"] == pytest.approx(1.0, abs=0.02)
    assert found["scores"]["oracle"]["gap_closed"]["value"] == pytest.approx(1.0)
    # The published gaps stand on one mean of 20 draws for random, .2726; ours on its expectation.
    for name, gap in {"face height": 0.220, "Laplacian variance": 0.143, "LightQNet": 0.275}.items():
        row = found["scores"][name]
        assert (0.2726 - row["picked_fnmr"]["value"]) / (0.2726 - 0.1308) == pytest.approx(gap, abs=TOLERANCE)
        assert row["gap_closed"]["value"] == pytest.approx(gap, abs=0.006)
