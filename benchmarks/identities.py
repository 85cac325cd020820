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
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from identity_clips import join, sheet
from identity_search import search_times

from facesieve.config import parse_config
from facesieve.engines.zoo.fetch import digest
from facesieve.fiqa.linking import STUDENT, measure_model
from facesieve.job import run_sources
from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.linker import Appearance, Linker
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.identity.templates import Template
from facesieve.stream.identity.thresholds import LinkThresholds, VerificationTable

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
OUT, RESULTS = HERE / "out", HERE / "results"
FILMS = ("short_hamilton_clip.mp4", "walking_crowd_1080p.mp4")
RATES = (1e-5, 3e-5, 1e-4, 1e-3)
"""The default first."""
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """people: as in identities.jsonl. tracks: every track, those without a shot too."""

    people: list[Record]
    tracks: list[Record]


def run(sources: Sequence[Path], out: Path, identity: Mapping[str, Any]) -> Found:
    """The product as it is shipped, with a store beside its results."""
    store = out.with_suffix(".sqlite")
    store.parent.mkdir(parents=True, exist_ok=True)
    store.unlink(missing_ok=True)
    config = parse_config({"identity": {**identity, "store": str(store)}}, "benchmark")
    outcomes = list(
        run_sources(
            [str(source) for source in sources],
            out,
            config,
            overwrite=True,
            stop=threading.Event(),
            watch=lambda *_: None,
            on_result=lambda *_: None,
        )
    )
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    tracks = [
        {**json.loads(line), "folder": os.path.relpath(outcome.out, out)}
        for outcome in outcomes
        for line in (outcome.out / "tracks.jsonl").read_text().splitlines()
    ]
    return Found([json.loads(line) for line in (out / "identities.jsonl").read_text().splitlines()], tracks)


def linked_again(out: Path, tracks: list[Record], limits: LinkThresholds) -> Found:
    """The same tracks in the same order with other thresholds: only the linking differs."""
    people: dict[int, list[Record]] = {}
    with (
        closing(SqlStore(SqliteDatabase(out.with_suffix(".sqlite")))) as known,
        closing(SqlStore(SqliteDatabase(None))) as fresh,
    ):
        rows = known.tracks()
        linker = Linker(fresh, limits, dimension=len(rows[0].template))
        visits = {
            r.source: linker.begin(f"{r.source:064d}", r.source_name, out="", folder=r.folder) for r in rows
        }
        for r in rows:
            template = Template(r.template, r.quality)
            seen = Appearance(r.track, r.first_pts_s, r.last_pts_s, r.frames_seen, template, [])
            linker.link(visits[r.source], seen, 0.0)
        for r in fresh.tracks():
            place = {"folder": r.folder, "track": r.track, "frames_seen": r.frames_seen}
            times = {"first_pts_s": r.first_pts_s, "last_pts_s": r.last_pts_s}
            people.setdefault(r.identity, []).append({**place, **times})
    return Found([{"identity": i, "tracks": own} for i, own in sorted(people.items())], tracks)


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


def as_set(found: Found, truth: Mapping[str, str]) -> Record:
    """Every clip a source of its own."""
    own = {clip: [t for t in found.tracks if t["folder"] == clip] for clip in truth}
    people = {clip: longest(tracks, found.people) for clip, tracks in own.items()}
    return {**pairwise(people, truth), "tracks": sum(len(r["tracks"]) for r in found.people)}


def as_one(found: Found, spans: Mapping[str, tuple[float, float]], truth: Mapping[str, str]) -> Record:
    """All clips one after the other in one video; a track is of the clip in which its middle lies."""
    people = {}
    for clip, (begin, end) in spans.items():
        own = [t for t in found.tracks if begin <= (t["first_pts_s"] + t["last_pts_s"]) / 2 < end]
        people[clip] = longest(own, found.people)
    return {**pairwise(people, truth), "tracks": sum(len(r["tracks"]) for r in found.people)}


def film(found: Found) -> Record:
    """Tracks and people of a film, and pairs of one identity that were seen at once (there must be none)."""
    clashes = sum(
        one["first_pts_s"] <= other["last_pts_s"] and other["first_pts_s"] <= one["last_pts_s"]
        for record in found.people
        for one, other in combinations(record["tracks"], 2)
    )
    return {
        "tracks": len(found.tracks),
        "tracks_with_shots": sum(len(record["tracks"]) for record in found.people),
        "people": len(found.people),
        "joined": [[t["track"] for t in r["tracks"]] for r in found.people if len(r["tracks"]) > 1],
        "seen_at_once": clashes,
    }


def measure(work: Path, embedders: Mapping[Path, VerificationTable], sheets: Path | None) -> Record:
    """Per embedder and rate: the default rate by whole runs, the others by linking their tracks again."""
    table = csv.DictReader((SHARED / "videos/asl/people.csv").read_text().splitlines())
    truth = {row["clip"]: row["person"] for row in table}
    clips = [SHARED / "videos/asl" / f"{clip}.mkv" for clip in sorted(truth)]
    spans = join(clips, work / "joined.mkv")
    parts = {
        "set": clips,
        "joined": [work / "joined.mkv"],
        **{Path(f).stem: [SHARED / "videos" / f] for f in FILMS},
    }
    results: Record = {}
    for path, known in embedders.items():
        results[path.stem] = {}
        base = {
            part: run(sources, work / path.stem / part, settings(path, known))
            for part, sources in parts.items()
        }
        for part in base if sheets is not None else ():
            sheet(work / path.stem / part, sheets / f"{path.stem}-{part}.png")
        for rate in RATES:
            limits = known.thresholds(rate)
            found = base
            if rate != RATES[0]:
                found = {
                    part: linked_again(work / path.stem / part, whole.tracks, limits)
                    for part, whole in base.items()
                }
            results[path.stem][f"{rate:g}"] = {
                "threshold": round(limits.join, 4),
                "asl_set": as_set(found["set"], truth),
                "asl_joined": as_one(found["joined"], spans, truth),
                **{Path(f).stem: film(found[Path(f).stem]) for f in FILMS},
            }
            print(path.stem, rate, json.dumps(results[path.stem][f"{rate:g}"]), flush=True)
    return results


def tables(extra: Sequence[Path]) -> dict[Path, VerificationTable]:
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
        found[path] = table
    return found


def settings(path: Path, table: VerificationTable) -> dict[str, Any]:
    """The [identity] table of a run with this embedder at the default rate."""
    if path == STUDENT:
        return {}
    limits = table.thresholds(RATES[0])
    return {
        "embedder": str(path),
        "threshold": limits.join,
        "stay_threshold": limits.stay,
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
                f"| {row['people']:,} | {row['exact_ms']:.2f} ms | {row['matrix_mb']:.1f} MB "
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
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        results: Record = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, CPU time",
            "linking": measure(work, known, arguments.sheets),
        }
    if not arguments.skip_search:
        results["search"] = search_times((1_000, 10_000, 100_000))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "identities.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "identities.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
