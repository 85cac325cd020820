"""Stores of people to test with, on both databases."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from os import environ, geteuid
from pathlib import Path

import pytest
from patience import PATIENCE_S

from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.postgres import PostgresDatabase
from facesieve.stream.identity.sql import SqlStore

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of Debian's packages on a socket of its own; its URL."""
    if not BINARIES:
        if environ.get("FACESIEVE_REQUIRE_ALL"):
            pytest.fail("PostgreSQL is missing and FACESIEVE_REQUIRE_ALL is set")
        pytest.skip("PostgreSQL is missing (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="fs-pg-", dir="/tmp"))  # short: it is in a socket's path
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")

    def call(program: str, *arguments: str) -> None:
        command = [*user, str(BINARIES[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=2 * PATIENCE_S)

    try:
        call("initdb", "-A", "trust", "-U", "facesieve", "--no-sync")
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off"
        log = str(folder / "log")
        call("pg_ctl", "-l", log, "-o", settings, "-w", "start")
        try:
            yield f"postgresql:///postgres?host={folder}&user=facesieve"
        finally:
            call("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SqlStore]]:
    """Opens the same fresh store again and again, on either database."""
    with ExitStack() as opened:
        if request.param == "sqlite":

            def make() -> SqlStore:
                return opened.enter_context(SqlStore(SqliteDatabase(tmp_path / "people.sqlite")))
        else:
            url = request.getfixturevalue("postgres")
            admin = PostgresDatabase(url)
            opened.callback(admin.close)
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public")

            def make() -> SqlStore:
                return opened.enter_context(SqlStore(PostgresDatabase(url)))

        yield make
