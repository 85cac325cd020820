"""People of real video: from `facesieve run` to `facesieve identities delete`."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from facesieve.cli import main
from facesieve.config import Config, parse_config
from facesieve.identify import source_hash
from facesieve.job import run_sources
from facesieve.outcome import Outcome
from facesieve.stream.errors import ConfigError, FacesieveError, OutputExists
from facesieve.stream.identity import SqliteDatabase, SqlStore
from facesieve.stream.types import TrackResult

CLIPS = ("again", "bird", "book", "yes")  # A, B, C, A
Record = dict[str, Any]


def settings(shared: Path, **identity: object) -> Config:
    detector = {
        "kind": "yunet",
        "weights": str(shared / "models" / "yunet_n_dynamic.onnx"),
        "long_side_px": 320,
    }
    return parse_config({"detector": detector, "identity": identity}, "test")


def run(
    sources: list[Path],
    out: Path,
    config: Config,
    *,
    overwrite: bool = False,
    stop: threading.Event | None = None,
    on_result: Callable[[str, TrackResult], None] = lambda *_: None,
) -> list[Outcome]:
    done = list(
        run_sources(
            [str(source) for source in sources],
            out,
            config,
            overwrite=overwrite,
            stop=stop or threading.Event(),
            watch=lambda *_: None,
            on_result=on_result,
        )
    )
    for outcome in done:
        if outcome.error is not None:
            raise outcome.error
    return done


def people(out: Path) -> list[Record]:
    return [json.loads(line) for line in (out / "identities.jsonl").read_text().splitlines()]


def lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[Path]:
    return [shared / "videos" / "asl" / f"{clip}.mkv" for clip in CLIPS]


@pytest.fixture(scope="module")
def stored(shared: Path, clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run over four clips with a store: (results, store)."""
    folder = tmp_path_factory.mktemp("stored")
    run(clips, folder / "out", settings(shared, store=str(folder / "people.sqlite")))
    return folder / "out", folder / "people.sqlite"


@pytest.fixture
def mine(stored: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of both to change; the store is told where its results lie now."""
    out, store = tmp_path / "out", tmp_path / "people.sqlite"
    shutil.copytree(stored[0], out)
    shutil.copy2(stored[1], store)
    with closing(SqlStore(SqliteDatabase(store))) as opened:
        for table in ("results", "tracks"):
            opened._database.execute(f"UPDATE {table} SET out = ?", (str(out),))  # noqa: S608
    return out, store


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["facesieve", "identities", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call


def test_one_person_in_two_clips_is_one_identity(stored: tuple[Path, Path]) -> None:
    found = people(stored[0])
    of_clip = {t["folder"]: r["identity"] for r in found for t in r["tracks"] if t["frames_seen"] > 10}
    assert of_clip["again"] == of_clip["yes"]
    assert len({of_clip[clip] for clip in ("again", "bird", "book")}) == 3
    assert [r["identity"] for r in found] == sorted(r["identity"] for r in found)


def test_every_line_fits_the_files_it_names(stored: tuple[Path, Path]) -> None:
    out, _ = stored
    for record in people(out):
        assert record["schema"] == "facesieve.identity/1"
        assert record["identity"] >= 1
        assert 1 <= len(record["shots"]) <= 3
        scores = [shot["score"] for shot in record["shots"]]
        assert scores == sorted(scores, reverse=True)
        for shot in record["shots"]:
            assert (out / shot["chip"]).is_file()
            assert (out / shot["portrait"]).is_file()
            (line,) = [
                row
                for row in lines(out / shot["folder"] / "shots.jsonl")
                if (row["track"], row["rank"]) == (shot["track"], shot["rank"])
            ]
            assert (line["score"], line["pts_s"], line["identity"]) == (
                (shot["score"], shot["pts_s"], record["identity"])
            )
            assert shot["chip"] == f"{shot['folder']}/{line['chip']}"
        assert record["first_pts_s"] == min(t["first_pts_s"] for t in record["tracks"])
        for track in record["tracks"]:
            (line,) = [
                r for r in lines(out / track["folder"] / "tracks.jsonl") if r["track"] == track["track"]
            ]
            assert (line["identity"], line["frames_seen"]) == (record["identity"], track["frames_seen"])
    assert b'"embedding"' not in b"".join(path.read_bytes() for path in out.rglob("*.jsonl"))


def test_the_same_input_gives_the_same_bytes(shared: Path, clips: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(clips[:2], tmp_path / name, settings(shared))
    one, two = ((tmp_path / name / "identities.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
    assert b'"store"' not in one, "people of a run without a store are known to nobody afterwards"


def test_the_same_file_again_doubles_nothing_and_another_one_joins(
    shared: Path, clips: list[Path], tmp_path: Path
) -> None:
    config = settings(shared, store=str(tmp_path / "people.sqlite"))
    renamed = tmp_path / "renamed.mkv"
    shutil.copy2(clips[0], renamed)
    run([clips[0]], tmp_path / "first", config)
    run([renamed], tmp_path / "again", config)
    with closing(SqlStore(SqliteDatabase(tmp_path / "people.sqlite"))) as store:
        tracks = store.tracks()
    run([clips[3]], tmp_path / "other", config)
    (first,), (again,), (other,) = (people(tmp_path / name) for name in ("first", "again", "other"))
    assert first["identity"] == again["identity"] == other["identity"] == 1
    assert len(tracks) == len(first["tracks"]) == len(again["tracks"])
    assert [t["folder"] for t in other["tracks"]] == ["."], "this run's tracks only; the id is the store's"


def test_nobody_in_a_film_with_cuts_is_in_two_places(shared: Path, tmp_path: Path) -> None:
    run([shared / "videos" / "short_hamilton_clip.mp4"], tmp_path / "out", settings(shared, fmr=1e-2))
    found = people(tmp_path / "out")
    assert found
    for record in found:
        for one, other in combinations(record["tracks"], 2):
            apart = one["last_pts_s"] < other["first_pts_s"] or other["last_pts_s"] < one["first_pts_s"]
            assert apart, record


def test_an_interrupted_run_has_its_people(shared: Path, clips: list[Path], tmp_path: Path) -> None:
    stop = threading.Event()
    (outcome,) = run(clips, tmp_path / "out", settings(shared), stop=stop, on_result=lambda *_: stop.set())
    assert outcome.interrupted
    assert [t["folder"] for r in people(tmp_path / "out") for t in r["tracks"]] == ["again"]


def test_results_are_overwritten_only_when_asked(shared: Path, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([clips[0]], out, settings(shared))
    (out / "identities.jsonl").write_text('{"schema":"facesieve.identity/1","old":true}\n')
    for name in ("shots.jsonl", "tracks.jsonl", "run.json", "report.html"):
        (out / name).unlink()
    shutil.rmtree(out / "shots")
    with pytest.raises(OutputExists, match=r"identities\.jsonl"):
        run([clips[0]], out, settings(shared))
    for name in ("shots.jsonl", "tracks.jsonl", "run.json", "report.html"):
        (out / name).unlink(missing_ok=True)
    run([clips[0]], out, settings(shared), overwrite=True)
    assert people(out)[0]["identity"] == 1


def test_identity_off_writes_none(shared: Path, clips: list[Path], tmp_path: Path) -> None:
    run([clips[0]], tmp_path / "out", settings(shared))
    assert (tmp_path / "out" / "identities.jsonl").exists()
    run([clips[0]], tmp_path / "out", settings(shared, enabled=False), overwrite=True)
    assert not (tmp_path / "out" / "identities.jsonl").exists(), "nor are those of the run before left"
    assert {row["identity"] for row in lines(tmp_path / "out" / "tracks.jsonl")} == {None}


def test_a_recogniser_of_one_s_own_tells_people_apart(
    shared: Path, clips: list[Path], tmp_path: Path
) -> None:
    path = shared / "models" / "mobilefacenet_foamliu.onnx"
    config = settings(shared, embedder=str(path), threshold=0.45, min_quality=0.1)
    config = config.model_copy(
        update={"scorer": parse_config({"scorer": {"kind": "analytical"}}, "t").scorer}
    )
    run([clips[0], clips[1], clips[3]], tmp_path / "out", config)
    of_clip = {t["folder"]: r["identity"] for r in people(tmp_path / "out") for t in r["tracks"]}
    assert of_clip["again"] == of_clip["yes"] != of_clip["bird"]
    models = json.loads((tmp_path / "out" / "again" / "run.json").read_text())["models"]
    assert "mobilefacenet_foamliu.onnx" in [model["name"] for model in models]


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ({"embedder": "MODEL"}, "identity.threshold"),
        ({"embedder": "sface"}, "sface.*identity.threshold"),
        ({"fmr": 1e-9}, "identity.fmr"),
        ({"threshold": 0.5, "stay_threshold": 0.6}, "stay <= join"),
        ({"store": "postgresql://me:secret@host/db"}, "leave the password out"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(
    shared: Path, clips: list[Path], tmp_path: Path, identity: Record, says: str
) -> None:
    model = str(shared / "models" / "mobilefacenet_foamliu.onnx")
    identity = {key: model if value == "MODEL" else value for key, value in identity.items()}
    with pytest.raises(ConfigError, match=says):
        run([clips[0]], tmp_path / "out", settings(shared, **identity))
    assert not (tmp_path / "out" / "shots.jsonl").exists()


def test_a_store_is_not_mixed_with_another_network(
    shared: Path, clips: list[Path], mine: tuple[Path, Path], tmp_path: Path
) -> None:
    path = shared / "models" / "mobilefacenet_foamliu.onnx"
    config = settings(shared, embedder=str(path), threshold=0.45, store=str(mine[1]))
    with pytest.raises(FacesieveError, match="cannot be compared"):
        run([clips[0]], tmp_path / "other", config)


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"1")
    first = source_hash(str(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert source_hash(str(tmp_path / "b")) == first
    (tmp_path / "b" / "x.jpg").write_bytes(b"2")
    assert source_hash(str(tmp_path / "b")) != first
    assert source_hash("-") != source_hash("-"), "standard input is new every time"


def test_list_show_export_and_log(mine: tuple[Path, Path], command: Callable[..., tuple[int, str]]) -> None:
    out, store = mine
    code, text = command("list", "--store", store, "--json")
    assert code == 0
    listed = [json.loads(line) for line in text.splitlines()]
    assert [row["identity"] for row in listed] == [r["identity"] for r in people(out)]
    assert listed[0]["sources"] == 2
    assert command("list", "--store", store)[1].startswith("identity")
    code, text = command("show", 1, "--store", store, "--json")
    assert [t["source"] for t in json.loads(text)["tracks"]] == ["again.mkv", "yes.mkv"]
    code, text = command("export", "--store", store)
    assert [json.loads(line)["identity"] for line in text.splitlines()] == [r["identity"] for r in listed]
    assert "template" not in text
    code, text = command("export", "--store", store, "--format", "csv", "--embeddings")
    assert len(text.splitlines()[1].split(",")[-1].split()) == 128
    code, text = command("log", "--store", store)
    assert "join 1" in text


def test_split_and_merge(mine: tuple[Path, Path], command: Callable[..., tuple[int, str]]) -> None:
    _, store = mine
    with closing(SqlStore(SqliteDatabase(store))) as opened:
        rows = [track.row for track in opened.tracks(identity=1)]
        newest = max(track.identity for track in opened.tracks())
    assert command("split", 1, rows[1], "--store", store) == (0, f"identity {newest + 1}\n")
    assert command("merge", newest + 1, 1, "--store", store) == (0, "identity 1\n")
    for wrong in (
        ("merge", 1, 99),
        ("merge", 1, newest + 1),
        ("split", 1, 12345),
        ("show", 77),
        ("delete", 77),
    ):
        code, text = command(*wrong, "--store", store, *(["--yes"] if wrong[0] == "delete" else []))
        assert code == 2, text
        assert text.startswith("error: ")
    assert command("list", "--store", store.with_name("absent.sqlite"))[0] == 11


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nobody_is_deleted_who_was_not_meant(
    mine: tuple[Path, Path],
    command: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
) -> None:
    """Nobody may be there to answer, too."""
    out, store = mine
    before = people(out)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    code, text = command("delete", 1, "--store", store)
    assert code == 130
    assert text.endswith("stopped: nothing was done\n")
    assert people(out) == before
    assert command("show", 1, "--store", store)[0] == 0


def test_deleting_really_deletes(
    shared: Path, clips: list[Path], mine: tuple[Path, Path], command: Callable[..., tuple[int, str]]
) -> None:
    out, store = mine
    with closing(SqlStore(SqliteDatabase(store))) as opened:
        tracks = opened.tracks(identity=1)
        vectors = [s.vector for t in tracks for s in opened.shots(t.row, vectors=True)]
        traces = [t.template.tobytes() for t in tracks] + [v.tobytes() for v in vectors if v is not None]
    others = [r for r in people(out) if r["identity"] != 1]
    left = {path: path.read_bytes() for r in others for s in r["shots"] for path in [out / s["chip"]]}
    (out / "again" / "candidates.zip").write_bytes(b"chips of everyone")
    assert all(trace in store.read_bytes() for trace in traces), "the test would see them"
    code, text = command("delete", 1, "--store", store, "--yes")
    assert code == 0, text
    assert "candidates.zip" in text
    data = b"".join(path.read_bytes() for path in store.parent.glob("people.sqlite*"))
    assert [trace for trace in traces if trace in data] == []
    assert people(out) == others
    for folder in ("again", "yes"):
        assert not list((out / folder).rglob("*.png"))
        assert not list((out / folder).rglob("*.jpg"))
        assert not (out / folder / "candidates.zip").exists()
        assert 1 not in {row["identity"] for row in lines(out / folder / "tracks.jsonl")}
        assert "data:image" not in (out / folder / "report.html").read_text(), (
            "no picture is left in the page"
        )
    assert {path: path.read_bytes() for path in left} == left
    assert "delete 1  tracks 2 shots" in command("log", "--store", store)[1]
    run([clips[0]], out.parent / "later", settings(shared, store=str(store)))
    assert people(out.parent / "later")[0]["identity"] > max(r["identity"] for r in others), "a new person"


def test_what_another_run_wrote_in_the_folder_since_is_not_touched(
    shared: Path, clips: list[Path], mine: tuple[Path, Path], command: Callable[..., tuple[int, str]]
) -> None:
    """Ids of a run without the store name other people."""
    out, store = mine
    run(clips, out, settings(shared), overwrite=True)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert command("delete", 1, "--store", store, "--yes")[0] == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_retention_by_count_quality_and_age(
    mine: tuple[Path, Path], command: Callable[..., tuple[int, str]]
) -> None:
    out, store = mine
    best = {r["identity"]: r["shots"][0]["chip"] for r in people(out)}
    assert command("retain", "--store", store)[0] == 2
    assert command("retain", "--store", store, "--shots", 1)[0] == 0
    assert {r["identity"]: [s["chip"] for s in r["shots"]] for r in people(out)} == (
        {identity: [chip] for identity, chip in best.items()}
    )
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*_chip.png")) == sorted(best.values())
    scores = {r["identity"]: r["shots"][0]["calibrated"] for r in people(out)}
    bar = sorted(scores.values())[1]
    assert command("retain", "--store", store, "--min-quality", bar)[0] == 0
    assert [r["identity"] for r in people(out)] == [i for i, q in scores.items() if q >= bar]
    assert command("retain", "--store", store, "--days", 1)[0] == 0
    assert people(out), "nothing is a day old"
    assert command("retain", "--store", store, "--days", 0)[0] == 0
    assert people(out) == []
    assert list(out.rglob("*.png")) == []
    with closing(SqlStore(SqliteDatabase(store))) as opened:
        assert opened.identities() == []
        assert [r.action for r in opened.revisions()].count("retain") == 3


def test_a_run_applies_the_retention_of_its_configuration(
    shared: Path, clips: list[Path], tmp_path: Path
) -> None:
    config = settings(shared, store=str(tmp_path / "people.sqlite"), retention_shots=1)
    run([clips[0], clips[3]], tmp_path / "out", config)
    (record,) = people(tmp_path / "out")
    assert len(record["shots"]) == 1
    assert len(list((tmp_path / "out").rglob("*_chip.png"))) == 1


def test_windows_of_a_track_are_one_track_of_one_person(shared: Path, tmp_path: Path) -> None:
    config = settings(shared)
    windows = config.selection.model_copy(update={"max_track_ms": 1000.0, "top_k": 20})
    config = config.model_copy(update={"selection": windows})
    run([shared / "videos" / "carphone_pristine.mp4"], tmp_path / "out", config)
    (record,) = people(tmp_path / "out")
    rows = lines(tmp_path / "out" / "tracks.jsonl")
    assert len(rows) > 2, "the track was cut"
    assert {row["identity"] for row in rows} == {record["identity"]}
    (track,) = record["tracks"]
    assert track["frames_seen"] == sum(row["frames_seen"] for row in rows)
    assert track["last_pts_s"] == max(row["last_pts_s"] for row in rows)
    assert len({shot["window"] for shot in record["shots"]}) > 2
    assert all((tmp_path / "out" / shot["chip"]).is_file() for shot in record["shots"])
