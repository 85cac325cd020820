"""The archive of all scored candidates: what goes in comes out, whole or not at all."""

from __future__ import annotations

import functools
import resource
import signal
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from facesieve.stream.errors import OutputExists, OutputFull, SourceMissing, SourceUnreadable
from facesieve.stream.gate import gate
from facesieve.stream.pipeline import Pipeline
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.sinks import CandidateArchive, FolderSink, read_candidates
from facesieve.stream.testing import ArrayPicture, ListSource, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import Crop, Detections, Quality, Rejection, TrackResult
from facesieve.trackers.bytetrack import ByteTrack

SHAPE = (0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)
SELECTION = SelectionPolicy(top_k=2, min_gap_s=0.3, min_score=0.2, min_hits=5)


def crop(number: int, track: int = 0, seed: int | None = None) -> Crop:
    chip = np.random.default_rng(number if seed is None else seed).integers(0, 255, (112, 112, 3), np.uint8)
    points = np.array(SHAPE, np.float32) * 60
    box = np.array([0, 0, 60, 60], np.float32)
    return Crop(track, number, number / 10, None, chip, None, (0, 0), box, points, 0.9, 24.0, 0.0)


def faces(*corners: tuple[float, float]) -> Detections:
    boxes = np.array([[x, y, x + 60, y + 60] for x, y in corners], np.float32).reshape(-1, 4)
    points = np.array([np.array(SHAPE) * 60 + c for c in corners], np.float32).reshape(-1, 5, 2)
    return Detections(boxes, np.full(len(corners), 0.9, np.float32), points)


def quality(crop: Crop) -> Quality:
    """Rises and falls with time, differently for the two places; too low now and then."""
    phase = crop.pts_s + (1.0 if crop.box[0] > 100 else 0.0)
    return Quality(float("nan") if crop.frame_index == 7 else float(np.sin(3 * phase)), "wave")


def run(out: Path) -> tuple[list[TrackResult], list[Crop]]:
    """A film of two faces for a while, then one, then a short track that is lost; the offered crops."""
    found = [faces((20, 40), (200, 40))] * 60 + [faces((20, 40))] * 30 + [faces((20, 40), (60, 160))] * 2
    found += [faces((20, 40))] * 40
    rng = np.random.default_rng(5)
    frames = [
        ArrayPicture(np.asarray(cell, np.uint8)) for cell in rng.integers(0, 255, (len(found), 240, 320, 3))
    ]
    seen: list[Crop] = []

    def note(crop: Crop) -> Quality:
        seen.append(crop)
        return quality(crop)

    pipeline = Pipeline(
        detector=ScriptedDetector(found),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(note),
        new_selector=lambda source, stills: TopKSelector(SELECTION, source=source, stills=stills),
        gate=functools.partial(gate, policy=SELECTION),
        hz=0.0,
        scene_cuts=False,
        margin=None,
    )
    film = ListSource([np.asarray(f.region(0, 0, 320, 240)) for f in frames], fps=10)
    out.mkdir(exist_ok=True)
    with CandidateArchive(out, min_gap_s=SELECTION.min_gap_s) as archive:
        results = list(pipeline.run(film, candidates=archive))
        archive.finish()
    return results, seen


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrackResult], list[Crop]]:
    out = tmp_path_factory.mktemp("run")
    return out, *run(out)


def test_every_scored_crop_comes_out_as_it_went_in(kept) -> None:
    out, _, seen = kept
    candidates = read_candidates(out)
    assert [(c.track, c.frame_index) for c in candidates.records] == [(c.track, c.frame_index) for c in seen]
    order = [*range(len(seen) - 1, 0, -7), 0]
    np.testing.assert_array_equal(candidates.chips(order), np.stack([seen[i].chip for i in order]))
    scores = [c.score for c in candidates.records]
    wanted = [quality(c).score for c in seen]
    assert [s is None for s in scores] == [not np.isfinite(w) for w in wanted]
    np.testing.assert_allclose(
        [s for s in scores if s is not None], [w for w in wanted if np.isfinite(w)], rtol=1e-5
    )


def test_ranks_and_reasons_agree_with_the_tracks_own_account(kept) -> None:
    out, results, _ = kept
    records = read_candidates(out).records
    assert any(Rejection.SHORT_TRACK in r.summary.rejected for r in results)
    for result in results:
        mine = [c for c in records if c.track == result.summary.track]
        ranked = {c.rank: c.frame_index for c in mine if c.rank}
        assert ranked == {s.rank: s.crop.frame_index for s in result.shots}
        reasons = Counter(c.rejected for c in mine if not c.rank)
        assert reasons == Counter({str(reason): n for reason, n in result.summary.rejected.items()})


def test_equal_runs_give_equal_bytes_for_the_owner_only(kept, tmp_path: Path) -> None:
    out, *_ = kept
    run(tmp_path / "again")
    assert (tmp_path / "again/candidates.zip").read_bytes() == (out / "candidates.zip").read_bytes()
    assert (out / "candidates.zip").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in out.iterdir()] == ["candidates.zip"]


def test_sheets_can_be_looked_at_one_by_one(kept) -> None:
    out, _, seen = kept
    with zipfile.ZipFile(out / "candidates.zip") as archive:
        sheets = [n for n in archive.namelist() if n.startswith("chips/")]
        assert archive.testzip() is None
    assert sheets == [f"chips/{n:06d}.png" for n in range(-(-len(seen) // 64))]


def test_a_run_without_candidates_is_an_archive_without_sheets(tmp_path: Path) -> None:
    with CandidateArchive(tmp_path, min_gap_s=0.5) as archive:
        archive.finish()
    assert read_candidates(tmp_path).records == ()


def test_what_was_not_finished_is_not_there(tmp_path: Path) -> None:
    with CandidateArchive(tmp_path, min_gap_s=0.5) as archive:
        archive.offer(crop(1), Quality(0.5, "m"), None)
        with pytest.raises(OutputExists, match=r"candidates\.zip\.part"):
            CandidateArchive(tmp_path, min_gap_s=0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_track_without_an_end_is_undecided(tmp_path: Path) -> None:
    with CandidateArchive(tmp_path, min_gap_s=0.5) as archive:
        archive.offer(crop(1), Quality(0.5, "m"), None)
        archive.offer(crop(2), Quality(0.1, "m"), Rejection.LOW_SCORE)
        archive.finish()
    assert [(c.rank, c.rejected) for c in read_candidates(tmp_path).records] == [(0, None), (0, "low_score")]


def test_memory_does_not_grow_with_the_candidates(tmp_path: Path) -> None:
    with CandidateArchive(tmp_path, min_gap_s=0.5) as archive:
        chip = crop(0)
        for number in range(64 * 3):
            archive.offer(crop(number, seed=0), Quality(0.5, "m"), None)
        tracemalloc.start()
        for _ in range(64 * 6):
            archive.offer(chip, Quality(0.5, "m"), None)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 64 * 1024


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    archive = CandidateArchive(tmp_path, min_gap_s=0.5)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with archive:
            for number in range(63):
                archive.offer(crop(number), Quality(0.5, "m"), None)
            with pytest.raises(OutputFull, match=r"candidates\.zip"):
                archive.offer(crop(63), Quality(0.5, "m"), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_takes_the_archive_with_it(kept, tmp_path: Path) -> None:
    out, *_ = kept
    (tmp_path / "candidates.zip").write_bytes((out / "candidates.zip").read_bytes())
    with pytest.raises(OutputExists, match="candidates"):
        FolderSink(tmp_path)
    FolderSink(tmp_path, overwrite=True).close()
    assert not (tmp_path / "candidates.zip").exists()


def test_reading_names_what_is_wrong(kept, tmp_path: Path) -> None:
    out, *_ = kept
    with pytest.raises(SourceMissing, match="--keep-candidates"):
        read_candidates(tmp_path)
    whole = (out / "candidates.zip").read_bytes()
    (tmp_path / "candidates.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadable, match=r"candidates\.zip"):
        read_candidates(tmp_path)
    with zipfile.ZipFile(tmp_path / "candidates.zip", "w") as archive:
        archive.writestr(
            "about.json", '{"schema":"facesieve.candidates/1","chip_px":112,"columns":8,"rows":8}'
        )
        archive.writestr("candidates.jsonl", '{"schema":"facesieve.candidate/1","track":-1}\n')
    with pytest.raises(SourceUnreadable, match=r"candidates\.jsonl line 1: track"):
        read_candidates(tmp_path)


@pytest.mark.parametrize("name", ["about.json", "candidates.jsonl"])
def test_a_small_archive_that_swells_is_refused(kept, tmp_path: Path, name: str) -> None:
    out, *_ = kept
    with (
        zipfile.ZipFile(out / "candidates.zip") as good,
        zipfile.ZipFile(tmp_path / "candidates.zip", "w", zipfile.ZIP_DEFLATED) as bad,
    ):
        for member in good.namelist():
            bad.writestr(member, bytes(1 << 25) if member == name else good.read(member))
    assert (tmp_path / "candidates.zip").stat().st_size < 40_000_000
    with pytest.raises(SourceUnreadable, match=rf"{name}: expected at most \d+ bytes, got 33554432"):
        read_candidates(tmp_path)


def test_a_member_that_cannot_be_unpacked_is_named(kept, tmp_path: Path) -> None:
    out, *_ = kept
    whole = bytearray((out / "candidates.zip").read_bytes())
    with zipfile.ZipFile(out / "candidates.zip") as archive:
        start = archive.getinfo("candidates.jsonl").header_offset
    whole[start + 70 : start + 90] = b"\xff" * 20
    (tmp_path / "candidates.zip").write_bytes(whole)
    with pytest.raises(SourceUnreadable, match=r"candidates\.jsonl"):
        read_candidates(tmp_path)
