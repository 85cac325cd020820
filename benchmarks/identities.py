"""Are tracks of one person one identity, and nobody else's?

    python benchmarks/identities.py [--embedder recogniser.onnx] [--skip-search]

The 20 asl clips (five people) as one set of sources and joined to one video: pairwise precision, recall and
F1 of identities against people.csv, each clip judged by its longest track; the same at other false match
rates, and with another embedder at the same rates, whose thresholds are measured first on the same held-out
people. Films without labels: tracks before, people after, and that no two faces seen at once share an
identity. How long a search takes, and opening a store, by the number of people. Writes
benchmarks/results/identities.{json,md} and, with --sheets FOLDER, a picture of everyone's shots there to look
at (they are not to be published).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from facesieve.config import Config, parse_config
from facesieve.engines.zoo.fetch import digest
from facesieve.fiqa.linking import STUDENT, measure_model
from facesieve.job import run_sources
from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.index import ExactIndex, GraphIndex, VectorIndex
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.identity.thresholds import VerificationTable
from facesieve.stream.types import F32

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
OUT, RESULTS = HERE / "out", HERE / "results"
FILMS = ("short_hamilton_clip.mp4", "walking_crowd_1080p.mp4")
RATES = (1e-3, 1e-4, 3e-5, 1e-5)
DIMENSION = 128
RATE = 30
"""Frames a second of the asl clips."""
Record = dict[str, Any]


def people_of(sources: Sequence[Path], out: Path, identity: Mapping[str, Any]) -> list[Record]:
    """The lines of identities.jsonl of one run with everything else as it is shipped."""
    config = parse_config({"identity": dict(identity)}, "benchmark") if identity else Config()
    outcomes = run_sources(
        [str(source) for source in sources],
        out,
        config,
        overwrite=True,
        stop=threading.Event(),
        watch=lambda *_: None,
        on_result=lambda *_: None,
    )
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [json.loads(line) for line in (out / "identities.jsonl").read_text().splitlines()]


def pairwise(found: Mapping[str, int | None], truth: Mapping[str, str]) -> dict[str, float]:
    """Pairs of clips: together in truth and found to be; a clip without an identity is with nobody."""
    hit = wrong = missed = 0
    for one, other in combinations(sorted(truth), 2):
        joined = found.get(one) is not None and found.get(one) == found.get(other)
        same = truth[one] == truth[other]
        hit += joined and same
        wrong += joined and not same
        missed += same and not joined
    precision, recall = hit / max(hit + wrong, 1), hit / max(hit + missed, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    return {
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(f1, 4),
        "people": len({identity for identity in found.values() if identity is not None}),
    }


def longest(tracks: Sequence[Record], records: Sequence[Record]) -> int | None:
    """The identity of the track that was seen most among a clip's."""
    if not tracks:
        return None
    best = max(tracks, key=lambda track: (track["frames_seen"], -track["track"]))
    for record in records:
        if any(t["folder"] == best["folder"] and t["track"] == best["track"] for t in record["tracks"]):
            return int(record["identity"])
    return None


def tracks_in(out: Path, folder: str) -> list[Record]:
    """Every track of a source, those without a shot too."""
    lines = (out / folder / "tracks.jsonl").read_text().splitlines()
    return [{**json.loads(line), "folder": folder} for line in lines]


def as_set(clips: Sequence[Path], truth: Mapping[str, str], out: Path, identity: Mapping[str, Any]) -> Record:
    """Every clip a source of its own."""
    records = people_of(clips, out, identity)
    found = {clip.stem: longest(tracks_in(out, clip.stem), records) for clip in clips}
    return {**pairwise(found, truth), "tracks": sum(len(r["tracks"]) for r in records)}


def as_one(
    video: Path,
    spans: Mapping[str, tuple[float, float]],
    truth: Mapping[str, str],
    out: Path,
    identity: Mapping[str, Any],
) -> Record:
    """All clips one after the other in one video; a track is of the clip in which its middle lies."""
    records = people_of([video], out, identity)
    tracks = tracks_in(out, ".")
    found = {}
    for clip, (begin, end) in spans.items():
        own = [t for t in tracks if begin <= (t["first_pts_s"] + t["last_pts_s"]) / 2 < end]
        found[clip] = longest(own, records)
    return {**pairwise(found, truth), "tracks": sum(len(r["tracks"]) for r in records)}


def join(clips: Sequence[Path], target: Path) -> dict[str, tuple[float, float]]:
    """The clips encoded anew, nearly without loss, as one video; where each begins and ends in it, s."""
    spans: dict[str, tuple[float, float]] = {}
    index = 0
    with av.open(str(target), "w") as sink:
        stream = sink.add_stream("libx264", rate=RATE, options={"crf": "12", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for clip in clips:
            begun = index
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    picture = frame.reformat(640, 480, "yuv420p")
                    picture.pts, picture.time_base = index, Fraction(1, RATE)
                    sink.mux(stream.encode(picture))
                    index += 1
            spans[clip.stem] = (begun / RATE, index / RATE)
        sink.mux(stream.encode(None))
    return spans


def film(path: Path, out: Path, identity: Mapping[str, Any]) -> Record:
    """Tracks and people of a film, and pairs of one identity that were seen at once (there must be none)."""
    records = people_of([path], out, identity)
    clashes = sum(
        one["first_pts_s"] <= other["last_pts_s"] and other["first_pts_s"] <= one["last_pts_s"]
        for record in records
        for one, other in combinations(record["tracks"], 2)
    )
    kept = sum(len(record["tracks"]) for record in records)
    return {
        "tracks": len(tracks_in(out, ".")),
        "tracks_with_shots": kept,
        "people": len(records),
        "joined": [[t["track"] for t in r["tracks"]] for r in records if len(r["tracks"]) > 1],
        "seen_at_once": clashes,
    }


def search_times(sizes: Sequence[int]) -> list[Record]:
    """CPU milliseconds of one search among so many people, and seconds to open a store that holds them."""
    rows = []
    generator = np.random.default_rng(0)
    for size in sizes:
        vectors = generator.normal(size=(size, DIMENSION)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        queries = vectors[:: max(1, size // 50)][:50] + generator.normal(size=(1, DIMENSION)) * 0.03
        queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
        exact = ExactIndex(DIMENSION)
        row: Record = {"people": size, "exact_ms": _search(exact, vectors, queries)[0]}
        row["matrix_mb"] = round(size * DIMENSION * 4 / 1e6, 1)
        row["store_open_s"] = _store_open(vectors)
        if size >= 100_000:
            graph = GraphIndex(DIMENSION)
            row["usearch_ms"], built_s = _search(graph, vectors, queries)
            row["usearch_build_s"] = built_s
            found = [graph.nearest(q, 0.0, 1)[:1] for q in queries]
            wanted = [exact.nearest(q, 0.0, 1)[:1] for q in queries]
            row["usearch_recall_at_1"] = float(
                np.mean([f[:1] and w[:1] and f[0][0] == w[0][0] for f, w in zip(found, wanted, strict=True)])
            )
        rows.append(row)
    return rows


def _search(index: VectorIndex, vectors: F32, queries: F32) -> tuple[float, float]:
    begun = time.process_time()
    for key, vector in enumerate(vectors, 1):
        index.put(key, vector)
    built_s = time.process_time() - begun
    spent = []
    for query in queries:
        begun = time.process_time()
        index.nearest(query, 0.6)
        spent.append(time.process_time() - begun)
    return round(1000 * float(np.median(spent)), 3), round(built_s, 2)


def _store_open(vectors: F32) -> float:
    """CPU seconds to read everyone out of a SQLite file into an index."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.sqlite"
        with closing(SqlStore(SqliteDatabase(path))) as store, store.transaction():
            for _ in range(len(vectors)):
                identity = store.new_identity()
                store.put_identity(identity, linkable=True, total=vectors[identity - 1].astype(np.float64))
        begun = time.process_time()
        with closing(SqlStore(SqliteDatabase(path))) as store:
            index = ExactIndex(DIMENSION)
            for row in store.changes(0).changed:
                index.put(row.identity, row.centre)
        return round(time.process_time() - begun, 2)


def sheet(out: Path, target: Path) -> None:
    """Everyone's shots, a row a person, with the id in front."""
    rows = []
    for line in (out / "identities.jsonl").read_text().splitlines():
        record = json.loads(line)
        tiles = [cv2.imread(str(path)) for path in _chips(out, record)[:16]]
        tiles += [np.zeros((112, 112, 3), np.uint8)] * (16 - len(tiles))
        label = np.zeros((112, 60, 3), np.uint8)
        cv2.putText(label, str(record["identity"]), (2, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255))
        rows.append(np.hstack([label, *tiles]))
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.vstack(rows))


def _chips(out: Path, record: Record) -> list[Path]:
    return [
        path
        for track in record["tracks"]
        for path in sorted((out / track["folder"] / "shots" / str(track["track"])).glob("*_chip.png"))
    ]


def measure(
    work: Path,
    embedders: Mapping[str, Mapping[float, Mapping[str, Any]]],
    known: Mapping[str, VerificationTable],
    sheets: Path | None,
) -> Record:
    """Per embedder and rate. embedders: name → rate → the [identity] table."""
    table = csv.DictReader((SHARED / "videos/asl/people.csv").read_text().splitlines())
    truth = {row["clip"]: row["person"] for row in table}
    clips = [SHARED / "videos/asl" / f"{clip}.mkv" for clip in sorted(truth)]
    joined = work / "joined.mkv"
    spans = join(clips, joined)
    results: Record = {}
    for name, rates in embedders.items():
        results[name] = {}
        for rate, identity in rates.items():
            out = work / f"{name}-{rate:g}"
            results[name][f"{rate:g}"] = {
                "threshold": round(known[name].at(rate), 4),
                "asl_set": as_set(clips, truth, out / "set", identity),
                "asl_joined": as_one(joined, spans, truth, out / "joined", identity),
                **{Path(f).stem: film(SHARED / "videos" / f, out / Path(f).stem, identity) for f in FILMS},
            }
            if sheets is not None:
                for part in ("set", "joined", *(Path(f).stem for f in FILMS)):
                    sheet(out / part, sheets / f"{name}-{rate:g}-{part}.png")
            print(name, rate, json.dumps(results[name][f"{rate:g}"]), flush=True)
    return results


def tables(extra: Sequence[Path]) -> dict[str, VerificationTable]:
    """The shipped table, and those of other embedders, measured once and kept in benchmarks/out."""
    found = {}
    for path in (STUDENT, *extra):
        sha256 = digest(path)
        table = VerificationTable.beside(path, sha256)
        kept = OUT / f"verification-{sha256[:16]}.json"
        if table is None:
            if not kept.is_file():
                OUT.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps({"verification": measure_model(path, SHARED)}))
            table = VerificationTable.beside(kept, sha256)
        assert table is not None
        found[str(path)] = table
    return found


def settings(path: str, table: VerificationTable, rate: float) -> dict[str, Any]:
    """The [identity] table that uses these thresholds."""
    limits = table.thresholds(rate)
    if path == str(STUDENT):
        return {"fmr": rate}
    return {
        "enabled": True,
        "embedder": path,
        "threshold": round(limits.join, 4),
        "stay_threshold": round(limits.stay, 4),
        "min_quality": limits.min_quality,
    }


def page(results: Record) -> str:
    """The tables of the documentation."""
    lines = [f"Measured on {results['machine']}.", ""]
    lines += [
        "| embedder | FMR | threshold | asl set: F1 (people, tracks) | asl joined: F1 "
        "| Hamilton: tracks → people | crowd: tracks → people | seen at once |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rates in results["linking"].items():
        for rate, row in rates.items():
            one, joined = row["asl_set"], row["asl_joined"]
            films = [row[Path(f).stem] for f in FILMS]
            shown = " | ".join(f"{f['tracks_with_shots']} → {f['people']}" for f in films)
            lines.append(
                f"| {name} | {rate} | {row['threshold']:.3f} "
                f"| {one['f1']:.3f} ({one['people']}, {one['tracks']}) "
                f"| {joined['f1']:.3f} ({joined['people']}, {joined['tracks']}) | {shown} "
                f"| {sum(f['seen_at_once'] for f in films)} |"
            )
    if results.get("search"):
        lines += [
            "",
            "| people | exact search | matrix | opening the store | usearch (recall@1) |",
            "|---|---|---|---|---|",
        ]
        for row in results["search"]:
            graph = (
                f"{row['usearch_ms']:.2f} ms ({row['usearch_recall_at_1']:.2f})"
                if "usearch_ms" in row
                else "–"
            )
            lines.append(
                f"| {row['people']:,} | {row['exact_ms']:.2f} ms | {row['matrix_mb']:.0f} MB "
                f"| {row['store_open_s']:.2f} s | {graph} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--embedder", type=Path, action="append", default=[])
    parser.add_argument("--skip-search", action="store_true")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--work", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    extra = arguments.embedder or [SHARED / "models/mobilefacenet_foamliu.onnx"]
    known = tables(extra)
    embedders = {
        Path(path).stem: {rate: settings(path, table, rate) for rate in RATES}
        for path, table in known.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        results: Record = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, CPU time",
            "linking": measure(
                work, embedders, {Path(p).stem: t for p, t in known.items()}, arguments.sheets
            ),
        }
    if not arguments.skip_search:
        results["search"] = search_times((1_000, 10_000, 100_000))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "identities.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "identities.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
