"""Nothing of a face or an embedding lies open on disk, and only the right keys bring it back."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from facesieve.cli import app
from facesieve.stream.errors import ConfigError
from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.edits import new_identity, settle
from facesieve.stream.identity.rows import ShotRow, TrackRow
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.sealing import KEYS, Encrypting, Plain, Sealer, from_environment, new_key, read_sealed
from facesieve.stream.serve.events import Message, Moment, Origin, ShotFacts, TrackEnded
from facesieve.stream.serve.receivers.folder import EventFolder
from facesieve.stream.serve.spool import Spool
from facesieve.stream.types import F32

FACE = b"\xff\xd8\xff\xe0" + b"a face as JPEG" * 40
OLD, NEW, OTHER = new_key(), new_key(), new_key()
ROOT = Path(__file__).resolve().parents[2]


def ended(track: int, wall_s: float = 1_700_000_000.0) -> Message:
    facts = ShotFacts(
        rank=1, pts_s=1.0, wall_s=wall_s, score=0.5, calibrated=None, model="m", enrol=False,
        box=(0, 0, 9, 9), eye_distance_px=9, detection_score=0.9, components={}, reason="best",
        image="1.jpg", chip=None,
    )  # fmt: skip
    event = TrackEnded(
        id=f"b1/gate/1/{track}/0/ended", origin=Origin(camera="gate", boot="b1", session=1),
        at=Moment(pts_s=1.0, wall_s=wall_s, monotonic_s=1.0), track=track, window=0, final=True, end="lost",
        first_pts_s=0, last_pts_s=1, frames_seen=5, rejected={}, shots=(facts,),
    )  # fmt: skip
    return Message(event, {"1.jpg": FACE})


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


class TestKeys:
    @given(st.binary(max_size=200))
    def test_what_is_sealed_opens_to_the_same(self, data: bytes) -> None:
        sealer = Encrypting([NEW])
        assert sealer.open(sealer.seal(data)) == data
        assert len(data) < 8 or data not in sealer.seal(data)

    def test_the_first_key_seals_and_all_open(self) -> None:
        before, both, after = Encrypting([OLD]), Encrypting([NEW, OLD]), Encrypting([NEW])
        assert both.open(before.seal(FACE)) == FACE
        assert after.open(both.seal(FACE)) == FACE
        assert not both.is_newest(before.seal(FACE))
        with pytest.raises(ConfigError, match="none of the encryption keys"):
            after.open(before.seal(FACE))

    def test_what_was_changed_on_disk_is_refused(self) -> None:
        sealed = bytearray(Encrypting([NEW]).seal(FACE))
        sealed[40] ^= 1
        with pytest.raises(ConfigError):
            Encrypting([NEW]).open(bytes(sealed))

    @pytest.mark.parametrize("key", ["", "short", NEW[:-2], "ä" * 44])
    def test_what_is_no_key_is_refused_without_being_shown(self, key: str) -> None:
        with pytest.raises(ConfigError, match="facesieve key") as told:
            Encrypting([key])
        assert not key or key not in str(told.value)

    def test_the_environment_gives_them_to_other_commands(self) -> None:
        assert isinstance(from_environment({}), Plain)
        assert from_environment({KEYS: f"{NEW} {OLD}"}).open(Encrypting([OLD]).seal(FACE)) == FACE


class TestSpool:
    def images(self, spool: Spool) -> list[bytes]:
        return [item.message.images["1.jpg"] for item in spool.next("a", limit=99)]

    def test_no_picture_lies_open_and_every_sink_gets_it(self, tmp_path: Path) -> None:
        with Spool(tmp_path / "spool.db", ["a"], sealer=Encrypting([NEW])) as spool:
            spool.put(ended(1), 0.0)
            assert FACE[:4] not in on_disk(tmp_path)
            assert b"a face as JPEG" not in on_disk(tmp_path)
            assert self.images(spool) == [FACE]

    @pytest.mark.parametrize("sealer", [None, Encrypting([OTHER])])
    def test_a_wrong_or_missing_key_is_told_at_the_start(self, tmp_path: Path, sealer: Sealer | None) -> None:
        with Spool(tmp_path / "spool.db", ["a"], sealer=Encrypting([NEW])) as spool:
            spool.put(ended(1), 0.0)
        with pytest.raises(ConfigError, match=r"spool\.db.*(encrypted)"):
            Spool(tmp_path / "spool.db", ["a"], sealer=sealer)
        with Spool(tmp_path / "spool.db", ["a"], sealer=Encrypting([NEW])) as spool:
            assert self.images(spool) == [FACE]

    def test_once_started_with_a_new_key_in_front_the_old_one_may_go(self, tmp_path: Path) -> None:
        path = tmp_path / "spool.db"
        with Spool(path, ["a"]) as spool:
            spool.put(ended(1), 0.0)
        assert b"a face as JPEG" in on_disk(tmp_path)
        with Spool(path, ["a"], sealer=Encrypting([OLD])) as spool:
            assert b"a face as JPEG" not in on_disk(tmp_path), "what lay open before is sealed too"
            spool.put(ended(2), 0.0)
        with Spool(path, ["a"], sealer=Encrypting([NEW, OLD])) as spool:
            spool.put(ended(3), 0.0)
        with Spool(path, ["a"], sealer=Encrypting([NEW])) as spool:
            assert self.images(spool) == [FACE] * 3

    def test_sigkill_leaves_a_sealed_spool_that_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "spool.db"
        script = (
            "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "import test_spool as t\n"
            "from pathlib import Path\n"
            "from facesieve.stream.sealing import Encrypting\n"
            "spool = t.Spool(Path(sys.argv[2]), ['a'], sealer=Encrypting([sys.argv[3]]))\n"
            "spool.put(t.started(1), 0.0); spool.put(t.shot(1, 1), 0.0); spool.put(t.ended(2), 0.0)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        tests = str(Path(__file__).parent / "serve")
        run = subprocess.run(
            [sys.executable, "-c", script, tests, str(path), NEW],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert run.returncode == -signal.SIGKILL, run.stderr.decode()
        assert b"face 1" not in on_disk(tmp_path)
        with Spool(path, ["a"], sealer=Encrypting([NEW])) as spool:
            assert spool.recover("b2", 5.0) == 1
            ends = [m.message for m in spool.next("a", 99) if isinstance(m.message.event, TrackEnded)]
        assert [dict(m.images) for m in ends] == [{"1.jpg": b"final"}, {"1.jpg": b"face 1"}]


def vector(seed: int) -> F32:
    drawn = np.random.default_rng(seed).normal(size=64).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


def add(store: SqlStore, track: int) -> int:
    with store.transaction():
        source, generation = store.source("a" * 64, "film")
        identity = new_identity(store, linkable=True)
        shots = [ShotRow(0, 1, 0.5, 0.9, None, "c", None, vector(100 + track))]
        row = TrackRow(
            0, source, "film", generation, track, identity, 0.0, 9.5, 7, 0.8, vector(track), "/o", ".", 5.0
        )  # fmt: skip
        store.put_track(row, shots)
        settle(store, identity)
    return identity


def opened(path: Path, *keys: str) -> SqlStore:
    return SqlStore(SqliteDatabase(path), Encrypting(keys) if keys else None)


def shows(store: SqlStore, identity: int, track: int) -> bool:
    """Whether all three kinds of vectors of a person are there."""
    (row,) = store.tracks(identity=identity)
    (shot,) = store.shots(row.row, vectors=True)
    person = store.identity(identity)
    assert person is not None
    assert shot.vector is not None
    np.testing.assert_array_equal(row.template, vector(track))
    np.testing.assert_array_equal(shot.vector, vector(100 + track))
    np.testing.assert_allclose(person.centre, vector(track), atol=1e-6)
    return True


def traces(folder: Path, track: int) -> int:
    """How many of a person's vectors lie open."""
    data = on_disk(folder)
    kept = [
        vector(track).tobytes(),
        vector(100 + track).tobytes(),
        (vector(track).astype("<f8") * 0.8).tobytes(),
    ]
    return sum(v[:16] in data for v in kept)


class TestStore:
    def test_no_vector_lies_open(self, tmp_path: Path) -> None:
        with opened(tmp_path / "people.db") as plain:
            add(plain, 1)
        assert traces(tmp_path, 1) >= 2, "the control: in a plain store they are found"
        with opened(tmp_path / "sealed.db", NEW) as store:
            who = add(store, 2)
            assert traces(tmp_path, 2) == 0
            assert shows(store, who, 2)
            assert shows(store, store.changes(0).changed[0].identity, 2)

    def test_a_plain_store_is_sealed_and_keys_change(self, tmp_path: Path) -> None:
        path = tmp_path / "people.db"
        with opened(path) as store:
            one = add(store, 1)
        with opened(path, OLD) as store:
            assert traces(tmp_path, 1) == 0, "what lay open before is sealed too"
            two = add(store, 2)
        with opened(path, NEW, OLD) as store:
            three = add(store, 3)
        with opened(path, NEW) as store:
            assert all(shows(store, who, track) for who, track in ((one, 1), (two, 2), (three, 3)))

    @pytest.mark.parametrize("keys", [(), (OTHER,)])
    def test_a_wrong_or_missing_key_is_told_when_it_is_opened(
        self, tmp_path: Path, keys: tuple[str, ...]
    ) -> None:
        path = tmp_path / "people.db"
        with opened(path, NEW) as store:
            add(store, 1)
        with pytest.raises(ConfigError, match=r"people\.db.*encrypted"):
            opened(path, *keys)

    def test_identities_reads_it_with_the_key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "people.db"
        with opened(path, NEW) as store:
            who = add(store, 1)
        command = ["identities", "export", "--store", str(path), "--embeddings"]
        monkeypatch.delenv(KEYS, raising=False)
        assert isinstance(CliRunner().invoke(app, command).exception, ConfigError | SystemExit)
        monkeypatch.setenv(KEYS, NEW)
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 0, told.output
        line = json.loads(told.stdout)
        assert line["identity"] == who
        np.testing.assert_allclose(line["tracks"][0]["template"], vector(1), atol=1e-5)


class TestFolder:
    def test_pictures_are_sealed_and_unseal_opens_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "events"
        EventFolder(out, sealer=Encrypting([NEW])).send(ended(1))
        assert b"a face as JPEG" not in on_disk(out)
        lines = out / "2023-11-14.jsonl.enc"
        assert b"track_ended" not in lines.read_bytes()
        line = json.loads(read_sealed(lines, Encrypting([NEW])))
        picture = out / line["images"]["1.jpg"]
        assert picture.name.endswith(".jpg.enc")
        assert read_sealed(picture, Encrypting([NEW])) == FACE
        command = ["unseal", str(picture), "--out", str(tmp_path / "clear")]
        for wrong in ("", OTHER):
            monkeypatch.setenv(KEYS, wrong)
            assert CliRunner().invoke(app, command).exit_code != 0
            assert not list((tmp_path / "clear").iterdir())
        monkeypatch.setenv(KEYS, NEW)
        assert CliRunner().invoke(app, command).exit_code == 0
        (clear,) = (tmp_path / "clear").iterdir()
        assert clear.read_bytes() == FACE
        assert stat.S_IMODE(clear.stat().st_mode) == 0o600

    def test_days_that_are_over_go_and_nothing_else(self, tmp_path: Path) -> None:
        day_s, now = 86_400.0, [1_700_000_000.0]
        out, elsewhere = tmp_path / "events", tmp_path / "elsewhere"
        folder = EventFolder(out, keep_days=2, now_s=lambda: now[0])
        for day in range(4):
            now[0] = 1_700_000_000.0 + day * day_s
            folder.send(ended(day, now[0]))
        days = [
            datetime.fromtimestamp(1_700_000_000.0 + d * day_s, UTC).strftime("%Y-%m-%d") for d in range(9)
        ]
        assert sorted(p.name for p in out.glob("*.jsonl")) == [f"{d}.jsonl" for d in days[2:4]]
        assert sorted(p.name for p in (out / "images").iterdir()) == days[2:4]
        # Strangers' files stay, and so does what lies behind links.
        elsewhere.mkdir()
        name = "0" * 32 + "_1.jpg"
        (elsewhere / name).write_bytes(FACE)
        (out / "images" / days[0]).symlink_to(elsewhere, target_is_directory=True)
        (out / "images" / days[2] / "notes.txt").write_text("mine")
        (out / "2023-01-01.txt").write_text("mine")
        (out / "images" / "2023-01-01").write_text("mine")
        now[0] = 1_700_000_000.0 + 8 * day_s
        folder.send(ended(8, now[0]))
        assert (elsewhere / name).read_bytes() == FACE
        assert (out / "images" / days[0]).is_symlink()
        assert [p.name for p in (out / "images" / days[2]).iterdir()] == ["notes.txt"]
        assert (out / "2023-01-01.txt").exists()
        assert (out / "images" / "2023-01-01").read_text() == "mine"
        assert [p.name for p in out.glob("*.jsonl")] == [f"{days[8]}.jsonl"]
        assert not (out / "images" / days[3]).exists()

    def test_it_looks_once_an_hour(self, tmp_path: Path) -> None:
        now = [1_700_000_000.0]
        folder = EventFolder(tmp_path, keep_days=1, now_s=lambda: now[0])
        folder.send(ended(1, now[0]))
        old = tmp_path / "2020-01-01.jsonl"
        old.write_text("{}\n")
        now[0] += 1800
        folder.send(ended(2, now[0]))
        assert old.exists()
        now[0] += 1800
        folder.send(ended(3, now[0]))
        assert not old.exists()


def test_the_proof_in_a_store_is_not_a_vector(tmp_path: Path) -> None:
    """An unsealed reader of a sealed file sees settings, and learns nothing of the key."""
    with opened(tmp_path / "people.db", NEW) as store:
        add(store, 1)
    with closing(sqlite3.connect(tmp_path / "people.db")) as db:
        (seal,) = db.execute("SELECT value FROM settings WHERE name = 'seal'").fetchone()
    assert NEW not in seal
    assert Encrypting([NEW]).open(seal.encode())
