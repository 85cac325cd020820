"""People of live cameras at rest: with a key neither their pictures nor their embeddings lie open."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import until

from facesieve.config import IdentityConfig
from facesieve.identify import Linking, open_store
from facesieve.serve_people import LivePeople
from facesieve.stream.errors import ConfigError
from facesieve.stream.identity.edits import delete_by_user
from facesieve.stream.identity.thresholds import LinkThresholds
from facesieve.stream.sealing import Encrypting, Sealer, new_key
from facesieve.stream.serve.events import Message, Moment
from facesieve.stream.serve.following import Following
from facesieve.stream.serve.narrator import Narrator
from facesieve.stream.serve.spool import Spool
from facesieve.stream.serve.web.people import People
from facesieve.stream.types import BestShot, Crop, Quality, TrackEnd, TrackResult, TrackSummary

ROOT = Path(__file__).resolve().parents[1]
KEY = new_key()
AT = Moment(pts_s=1.0, wall_s=1000.0, monotonic_s=1.0)
LINKING = Linking(None, "scripted@00000000", LinkThresholds(0.6, 0.5, 0.0))
EMBEDDING = np.full(64, 0.125, np.float32)


class Noon:
    def now_s(self) -> float:
        return 1000.0


def seen(track: int) -> TrackResult:
    rgb = np.random.default_rng(track).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    points = np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]], np.float32)
    box = np.array([0, 0, 112, 112], np.float32)
    crop = Crop(track, 0, 1.0, 1000.0, rgb, rgb, (0, 0), box, points, 0.9, 35.0, 0.0)
    shot = BestShot("gate", crop, Quality(0.9, "scripted", 0.9, embedding=EMBEDDING), 1, "best")
    return TrackResult(
        TrackSummary("gate", track, None, 10.0 * track, 10.0 * track + 1, 5, 5, 1, {}, TrackEnd.LOST), (shot,)
    )


def people(state: Path, sealer: Sealer | None, linking: Linking = LINKING) -> LivePeople:
    state.mkdir(exist_ok=True)
    return LivePeople(IdentityConfig(enabled=True), linking, state, Noon(), sealer)


def identify(live: LivePeople, track: int) -> int:
    result, _ = live.identify(seen(track), Narrator("gate", "b1", 1), AT)
    assert result.summary.identity is not None
    return result.summary.identity


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("sealer", [None, Encrypting([KEY])])
def test_pictures_are_shown_and_lie_open_only_without_a_key(tmp_path: Path, sealer: Sealer | None) -> None:
    with closing(people(tmp_path, sealer)) as live:
        who = identify(live, 1)
        assert identify(live, 2) == who, "the same person, linked by what the store holds"
        shown = People(live, live.read)
        row = live.in_store(lambda store: store.tracks(identity=who)[0].row)
        picture = shown.picture(who, row, 0, 1)
        assert picture is not None
        assert picture[1] == "image/jpeg"
        assert cv2.imdecode(np.frombuffer(picture[0], np.uint8), cv2.IMREAD_COLOR).shape == (112, 112, 3)
        assert live.in_store(live.sweep) == 0, "no picture of a person is taken for nobody's"
        data = on_disk(tmp_path)
    for trace in (b"\xff\xd8\xff\xe0", b"\x89PNG", EMBEDDING.tobytes()[:32]):
        assert (trace in data) == (sealer is None)
    assert len(list((tmp_path / "people").rglob("*.enc"))) == (0 if sealer is None else 4)


def test_deleted_people_take_their_sealed_pictures_along(tmp_path: Path) -> None:
    with closing(people(tmp_path, Encrypting([KEY]))) as live:
        who = identify(live, 1)
        found = People(live, live.read).delete(who, 1000.0, "test")
        assert found is not None
        assert found.pictures == 2
        assert not [path for path in (tmp_path / "people").rglob("*") if path.is_file()]


def test_a_wrong_or_missing_key_is_one_clear_error_at_the_start(tmp_path: Path) -> None:
    with closing(people(tmp_path, Encrypting([KEY]))) as live:
        identify(live, 1)
    for wrong in (None, Encrypting([new_key()])):
        with pytest.raises(ConfigError, match=r"identities\.db.*encrypted"):
            people(tmp_path, wrong)
    with closing(open_store(str(tmp_path / "identities.db"), Encrypting([KEY]))) as store:
        np.testing.assert_allclose(store.tracks()[0].template, EMBEDDING, atol=1e-6)


def test_another_networks_people_are_refused_at_the_start(tmp_path: Path) -> None:
    """Else every track of a service with new weights would end without an identity, and a search by face
    would compare what cannot be compared."""
    with closing(people(tmp_path, None)) as live:
        who = identify(live, 1)
    newer = replace(LINKING, name="scripted@11111111")
    with pytest.raises(ConfigError, match=r"scripted@00000000 .*cannot be compared.*scripted@11111111"):
        people(tmp_path, None, newer)
    with closing(people(tmp_path, None)) as live:
        assert identify(live, 2) == who, "what is there stays as it was"


def test_once_started_with_a_new_key_in_front_the_old_one_may_go(tmp_path: Path) -> None:
    new = new_key()
    with closing(people(tmp_path, Encrypting([KEY]))) as live:
        who = identify(live, 1)
    with closing(people(tmp_path, Encrypting([new, KEY]))) as live:
        live.in_store(lambda store: store.tracks())  # after what was to be sealed anew
    with closing(people(tmp_path, Encrypting([new]))) as live:
        shown = People(live, live.read)
        row = live.in_store(lambda store: store.tracks(identity=who)[0].row)
        picture = shown.picture(who, row, 0, 1)
        assert picture is not None
        assert picture[0][:2] == b"\xff\xd8"


def pictures(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "people").rglob("*"))


def test_pictures_go_with_a_person_that_another_process_deleted(tmp_path: Path) -> None:
    with closing(people(tmp_path, None)) as live:
        who = identify(live, 1)
    with closing(open_store(str(tmp_path / "identities.db"))) as store, store.transaction():
        delete_by_user(store, who, 1000.0, "another")
    assert pictures(tmp_path) == 2
    with closing(people(tmp_path, None)):
        until(lambda: pictures(tmp_path) == 0)


def test_a_folder_that_was_moved_keeps_its_pictures(tmp_path: Path) -> None:
    with closing(people(tmp_path / "before", None)) as live:
        identify(live, 1)
    (tmp_path / "before").rename(tmp_path / "after")
    with closing(people(tmp_path / "after", None)) as live:
        assert live.in_store(live.sweep) == 0
    assert pictures(tmp_path / "after") == 2


def identities(*arguments: object) -> None:
    """`facesieve identities …` as another process runs it beside the service."""
    command = [sys.executable, "-m", "facesieve", "identities", *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_command_beside_a_running_service_reaches_spool_receivers_pictures_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesieve.stream.serve.following.EVERY_S", 0.05)
    told: list[Message] = []
    spool = Spool(tmp_path / "spool.db", ["hook"])
    with closing(spool), closing(people(tmp_path, None)) as live:
        following = Following(live, spool, boot="b1", clock=Noon(), watch=told.append)
        with following:
            following.start()
            result, messages = live.identify(seen(1), Narrator("gate", "b1", 1), AT)
            who = result.summary.identity
            for message in (Narrator("gate", "b1", 1).ended(result, AT), *messages):
                spool.put(message, 1.0)
            assert held(live) == [who]
            identities("delete", who, "--yes", "--store", tmp_path / "identities.db")
            assert pictures(tmp_path) == 0, "the command takes them itself, where it can reach them"
            until(lambda: told)
            assert held(live) == [], "nobody has to walk by before memory forgets"
        (deleted,) = told
        assert deleted.event.type == "identity_deleted"
        assert deleted.event.identity == who
        left = [item.message for item in spool.next("hook", 9)]
        assert [(m.event.type, len(m.images)) for m in left] == [("track_ended", 0), ("identity_deleted", 0)]
        again = identify(live, 2)
        assert again != who


def test_folders_of_pictures_go_with_the_last_of_them(tmp_path: Path) -> None:
    """Else a service leaves a folder a track behind for ever."""
    with closing(people(tmp_path, None)) as live:
        who = identify(live, 1)
        assert pictures(tmp_path) == 2
        People(live, live.read).delete(who, 1000.0, "test")
        assert list((tmp_path / "people").iterdir()) == []
        assert identify(live, 2) != who
        assert pictures(tmp_path) == 2


def held(live: LivePeople) -> list[int]:
    """Whom memory would find by that face."""
    linker = live._linker
    assert linker is not None
    return live.in_store(lambda store: [one for one, _ in linker._index.nearest(EMBEDDING, 0.5)])
