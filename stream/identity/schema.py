"""The tables of an identity store, the same in SQLite and PostgreSQL; each step leads to the next version.

Numbers are given out from `counters` and never used twice, so a deleted person's id names nobody else later.
`gone` lets other processes forget a deleted person; `apart` keeps people whom a user has split from being
joined again, and `pinned` tracks whom a user has joined from being split; `results` are the folders in which
files of the people lie. A revision says that something was done and how much it touched; it holds no vector,
no file, no source. `edits` are what services that follow the store have still to tell of: of tracks of live
cameras their names, as events have them; rows go after three months.
"""

from __future__ import annotations

import uuid

from ..errors import ConfigError
from .database import Database

VERSION = 2

_V1 = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sources (
    source BIGINT PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    generation BIGINT NOT NULL
);
CREATE TABLE identities (
    identity BIGINT PRIMARY KEY,
    merged_into BIGINT REFERENCES identities (identity),
    linkable SMALLINT NOT NULL,
    total {blob},
    changed BIGINT NOT NULL
);
CREATE INDEX identities_changed ON identities (changed);
CREATE INDEX identities_merged ON identities (merged_into);
CREATE TABLE gone (identity BIGINT PRIMARY KEY, changed BIGINT NOT NULL);
CREATE INDEX gone_changed ON gone (changed);
CREATE TABLE apart (
    identity BIGINT NOT NULL REFERENCES identities (identity) ON DELETE CASCADE,
    other BIGINT NOT NULL REFERENCES identities (identity) ON DELETE CASCADE,
    PRIMARY KEY (identity, other)
);
CREATE TABLE results (
    out TEXT NOT NULL,
    folder TEXT NOT NULL,
    PRIMARY KEY (out, folder)
);
CREATE TABLE tracks (
    track_row BIGINT PRIMARY KEY,
    source BIGINT NOT NULL REFERENCES sources (source) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    track BIGINT NOT NULL,
    identity BIGINT NOT NULL REFERENCES identities (identity),
    first_pts_s DOUBLE PRECISION NOT NULL,
    last_pts_s DOUBLE PRECISION NOT NULL,
    frames_seen BIGINT NOT NULL,
    quality DOUBLE PRECISION NOT NULL,
    template {blob} NOT NULL,
    out TEXT NOT NULL,
    folder TEXT NOT NULL,
    recorded_s DOUBLE PRECISION NOT NULL,
    pinned SMALLINT NOT NULL,
    UNIQUE (source, generation, track)
);
CREATE INDEX tracks_number ON tracks (source, track);
CREATE INDEX tracks_identity ON tracks (identity, source);
CREATE INDEX tracks_recorded ON tracks (recorded_s);
CREATE TABLE shots (
    shot BIGINT PRIMARY KEY,
    track_row BIGINT NOT NULL REFERENCES tracks (track_row) ON DELETE CASCADE,
    window_number BIGINT NOT NULL,
    rank BIGINT NOT NULL,
    pts_s DOUBLE PRECISION NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    calibrated DOUBLE PRECISION,
    chip TEXT NOT NULL,
    portrait TEXT
);
CREATE INDEX shots_track ON shots (track_row);
CREATE TABLE embeddings (
    shot BIGINT PRIMARY KEY REFERENCES shots (shot) ON DELETE CASCADE,
    vector {blob} NOT NULL
);
CREATE TABLE revisions (
    revision BIGINT PRIMARY KEY,
    at_s DOUBLE PRECISION NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    identity BIGINT,
    other BIGINT,
    tracks BIGINT NOT NULL,
    shots BIGINT NOT NULL
);
CREATE INDEX revisions_action ON revisions (action, revision);
"""

_V2 = """
CREATE TABLE edits (
    revision BIGINT PRIMARY KEY,
    at_s DOUBLE PRECISION NOT NULL,
    identity BIGINT NOT NULL,
    merged_from TEXT NOT NULL,
    tracks_left BIGINT NOT NULL,
    tracks TEXT NOT NULL
);
CREATE INDEX tracks_seen ON tracks (identity, recorded_s);
"""

MIGRATIONS = (_V1, _V2)
"""MIGRATIONS[v] leads from version v to v + 1."""


def migrate(database: Database) -> str:
    """Make the tables, or bring those that are there up to VERSION; the store's name. Inside a transaction.

    Raises ConfigError for a store that a later facesieve wrote, and for a database of something else."""
    found = 0
    if database.has_table("settings"):
        version = settings(database).get("schema")
        if version is None:
            raise ConfigError(f"expected a store of identities, {database.name!r} is another database")
        found = int(version)
    if found > VERSION:
        raise ConfigError(
            f"the store {database.name!r} has schema {found}, written by a later facesieve; this one reads "
            f"up to {VERSION}"
        )
    for statement in "".join(MIGRATIONS[found:]).replace("{blob}", database.blob).split(";"):
        if statement.strip():
            database.execute(statement.strip())
    insert = "INSERT INTO settings (name, value) VALUES (?, ?)"
    if found == 0:
        database.execute(insert, ("name", uuid.uuid4().hex))
        database.execute(insert, ("schema", str(VERSION)))
    elif found < VERSION:
        database.execute("UPDATE settings SET value = ? WHERE name = 'schema'", (str(VERSION),))
    return settings(database)["name"]


def settings(database: Database) -> dict[str, str]:
    """What the store says of itself: schema, name, and from its first face on embedder and dimension."""
    return {str(name): str(value) for name, value in database.execute("SELECT name, value FROM settings")}
