"""`facesieve identities`: look at the people in a store, put right who is who, and forget them."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .stream.errors import ConfigError, SourceMissing

if TYPE_CHECKING:
    from .stream.identity.erase import Erased
    from .stream.identity.rows import TrackRow
    from .stream.identity.store import IdentityStore

app = typer.Typer(
    help="The people in a store: list, show, merge, split, delete, export.", no_args_is_help=True
)

StoreOption = Annotated[
    str, typer.Option("--store", help="The file, or postgresql:// URL without a password.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Id = Annotated[int, typer.Argument(help="An identity, as `list` names it.")]


@app.command("list")
def list_people(store: StoreOption, as_json: JsonOption = False) -> None:
    """Everyone: tracks, sources, shots, when first and last stored."""
    with _opened(store) as people:
        by_person: dict[int, list[TrackRow]] = {}
        for track in people.tracks():
            by_person.setdefault(track.identity, []).append(track)
        rows = [_facts(people, identity, by_person[identity]) for identity in sorted(by_person)]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    from rich.table import Table

    from .terminal import Terminal

    table = Table(
        "identity", "tracks", "sources", "shots", "quality", "last stored", box=None, pad_edge=False
    )
    for row in rows:
        stored = datetime.fromtimestamp(row["last_recorded_s"], UTC).strftime("%Y-%m-%d %H:%M")
        cells = (
            row["identity"],
            row["tracks"],
            row["sources"],
            row["shots"],
            f"{row['quality']:.2f}",
            stored,
        )
        table.add_row(*(str(cell) for cell in cells))
    Terminal().print(table if rows else "nobody")


@app.command()
def show(identity: Id, store: StoreOption, as_json: JsonOption = False) -> None:
    """One person's tracks and shots, with their files."""
    with _opened(store) as people:
        _known(people, identity)
        tracks = people.tracks(identity=identity)
        record = {
            **_facts(people, identity, tracks),
            "merged_from": people.merged_from(identity),
            "tracks": [_track_facts(people, track) for track in tracks],
        }
    if as_json:
        typer.echo(json.dumps(record))
        return
    merged = "".join(f", merged from {other}" for other in record["merged_from"])
    typer.echo(f"identity {identity}: {len(tracks)} {'track' if len(tracks) == 1 else 'tracks'}{merged}")
    for track in record["tracks"]:
        span = f"{track['first_pts_s']:.2f}–{track['last_pts_s']:.2f} s"
        typer.echo(f"  row {track['row']}: {track['source']}, track {track['track']}, {span}")
        for shot in track["shots"]:
            typer.echo(f"    {shot['score']:.3f} at {shot['pts_s']:.2f} s  {shot['chip']}")


@app.command()
def merge(
    identity: Id, other: Annotated[int, typer.Argument(help="Who is the same.")], store: StoreOption
) -> None:
    """Two are one person: the older id survives. Stays so, whatever the similarities say."""
    from .identify import actor
    from .stream.identity.edits import merge_by_user

    with _opened(store) as people, _saying(), people.transaction():
        survivor = merge_by_user(people, identity, other, time.time(), actor("merge"))
    typer.echo(f"identity {survivor}")


@app.command()
def split(
    identity: Id,
    rows: Annotated[
        list[int], typer.Argument(help="Rows of its tracks that are someone else, as `show` says.")
    ],
    store: StoreOption,
) -> None:
    """Some of its tracks are another person, under a new id. Stays so."""
    from .identify import actor
    from .stream.identity.edits import split_by_user

    with _opened(store) as people, _saying(), people.transaction():
        other = split_by_user(people, identity, rows, time.time(), actor("split"))
    typer.echo(f"identity {other}")


@app.command()
def delete(
    identities: Annotated[list[int], typer.Argument(help="Whom to forget.")],
    store: StoreOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget people: files, lines of results, rows and embeddings. It cannot be undone; that it was done is
    logged."""
    from .identify import actor
    from .stream.identity.edits import delete_by_user
    from .stream.identity.erase import erase_person

    with _opened(store) as people:
        for identity in identities:
            _known(people, identity)
        if not yes:
            whom = "this person" if len(identities) == 1 else f"these {len(identities)} people"
            typer.confirm(f"Delete {whom} and all their pictures?", abort=True)
        for identity in identities:
            _tell(f"identity {identity}", erase_person(people, identity))
            with _saying(), people.transaction():
                delete_by_user(people, identity, time.time(), actor("delete"))
        people.scrub()


@app.command()
def retain(
    store: StoreOption,
    days: Annotated[
        float | None, typer.Option(min=0, help="Give up tracks that were stored earlier.")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="Keep so many shots of each person.")] = None,
    min_quality: Annotated[float | None, typer.Option(min=0, max=1, help="Give up worse shots.")] = None,
) -> None:
    """Apply limits now, as a run does with identity.retention_… in its configuration."""
    from .identify import actor
    from .stream.identity.retention import DAY_S, Retention
    from .stream.identity.retention import retain as apply

    limits = Retention(None if days is None else days * DAY_S, shots, min_quality)
    if limits.keeps_all:
        raise ConfigError("expected --days, --shots or --min-quality: without any nothing is given up")
    with _opened(store) as people:
        _tell("retention", apply(people, limits, time.time(), actor("retain")))


@app.command()
def export(
    store: StoreOption,
    out: Annotated[Path | None, typer.Option(help="A file; standard output if left out.")] = None,
    form: Annotated[
        Literal["jsonl", "csv"], typer.Option("--format", help="One line a person, or a track.")
    ] = ("jsonl"),
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Also each track's template: biometric data.")
    ] = False,
) -> None:
    """Everyone as JSON lines, or every track as CSV."""
    with _opened(store) as people:
        text = "".join(_exported(people, form, embeddings=embeddings))
    if out is None:
        sys.stdout.write(text)
    else:
        from .stream.sinks.files import write_whole

        write_whole(out, text.encode())


@app.command()
def log(store: StoreOption) -> None:
    """What was done in the store: when, by whom, how much."""
    with _opened(store) as people:
        for r in people.revisions():
            when = datetime.fromtimestamp(r.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
            whom = " ".join(f"{i}" for i in (r.identity, r.other) if i is not None)
            typer.echo(f"{when}  {r.actor}  {r.action} {whom}  tracks {r.tracks} shots {r.shots}")


def _exported(people: IdentityStore, form: str, *, embeddings: bool) -> Iterator[str]:
    by_person: dict[int, list[TrackRow]] = {}
    for track in people.tracks():
        by_person.setdefault(track.identity, []).append(track)
    if form == "jsonl":
        for identity in sorted(by_person):
            own = [_track_facts(people, t, embeddings=embeddings) for t in by_person[identity]]
            merged = people.merged_from(identity)
            yield json.dumps({"identity": identity, "merged_from": merged, "tracks": own}) + "\n"
        return
    columns = ["identity", "row", "source", "track", "first_pts_s", "last_pts_s", "frames_seen", "quality"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*columns, *(["template"] if embeddings else [])])
    for identity in sorted(by_person):
        for track in by_person[identity]:
            facts = {"identity": identity, **_track_facts(people, track, embeddings=embeddings)}
            vector = [" ".join(f"{v:.6g}" for v in facts["template"])] if embeddings else []
            table.writerow([*(facts[name] for name in columns), *vector])
    yield text.getvalue()


@contextmanager
def _opened(place: str) -> Iterator[IdentityStore]:
    from .identify import POSTGRES, open_store
    from .stream.sealing import from_environment

    if not place.startswith(POSTGRES) and not Path(place).is_file():
        raise SourceMissing(f"no store at {place!r}")
    with closing(open_store(place, from_environment(os.environ))) as store:
        yield store


@contextmanager
def _saying() -> Iterator[None]:
    """What the store refuses is wrong usage."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _known(people: IdentityStore, identity: int) -> None:
    row = people.identity(identity)
    if row is None:
        raise ConfigError(f"no identity {identity} in the store")
    if row.merged_into is not None:
        raise ConfigError(f"identity {identity} was merged into {row.merged_into}")


def _facts(people: IdentityStore, identity: int, tracks: list[TrackRow]) -> dict[str, Any]:
    return {
        "identity": identity,
        "tracks": len(tracks),
        "sources": len({track.source for track in tracks}),
        "shots": sum(len(people.shots(track.row)) for track in tracks),
        "quality": round(max(track.quality for track in tracks), 4),
        "first_recorded_s": min(track.recorded_s for track in tracks),
        "last_recorded_s": max(track.recorded_s for track in tracks),
    }


def _track_facts(people: IdentityStore, track: TrackRow, *, embeddings: bool = False) -> dict[str, Any]:
    facts = {
        "row": track.row,
        "source": track.source_name,
        "track": track.track,
        "first_pts_s": track.first_pts_s,
        "last_pts_s": track.last_pts_s,
        "frames_seen": track.frames_seen,
        "quality": round(track.quality, 4),
        "folder": str(Path(track.out) / track.folder),
        "shots": [
            {"window": s.window, "rank": s.rank, "pts_s": s.pts_s, "score": s.score, "chip": s.chip}
            for s in people.shots(track.row)
        ],
    }
    return {**facts, "template": [float(f"{v:.6g}") for v in track.template]} if embeddings else facts


def _tell(what: str, erased: Erased) -> None:
    typer.echo(f"{what}: {erased.pictures} pictures and {erased.lines} lines of results removed")
    for name in erased.whole:
        typer.echo(f"  {name} held faces of everyone and was removed whole")
