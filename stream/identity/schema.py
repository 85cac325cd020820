"""The tables of an identity store, the same in SQLite and PostgreSQL; each step leads to the next version.

Numbers are given out from `counters` and never used twice, so a deleted person's id names nobody else later.
`gone` lets other processes forget a deleted person; `apart` keeps people whom a user has split from being
joined again, and `pinned` tracks whom a user has joined from being split; `results` are the folders in which
files of the people lie. A revision says that something was done and how much it touched; it holds no vector,
no file, no source.
"""

from __future__ import annotations

VERSION = 1

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

MIGRATIONS = (_V1,)
"""MIGRATIONS[v] leads from version v to v + 1."""


def statements(version: int, blob: str) -> list[str]:
    """What leads from a version to VERSION. blob: the database's type of bytes."""
    script = "".join(MIGRATIONS[version:]).replace("{blob}", blob)
    return [statement.strip() for statement in script.split(";") if statement.strip()]
