"""Tables of anything: what is written is what is read, whatever the text."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.export_tables import ROWS, Table, write_csv, write_parquet

COLUMNS = {"name": str, "count": int, "share": float, "kept": bool}
TEXT = st.text() | st.sampled_from(["=1+1", "@x", "-", "a,b", 'a"b', "a\nb", "a\rb", "\r", "\ud800half", ""])
ROW = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | TEXT,
        "count": st.none() | st.integers(-(2**62), 2**62),
        "share": st.none() | st.floats(allow_nan=False),
        "kept": st.none() | st.booleans(),
        "unknown": TEXT,
    },
)


def plain(value: object) -> object:
    """Text as it can be written at all."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@given(rows=st.lists(ROW, max_size=8))
@settings(max_examples=60, deadline=None)
def test_csv_gives_back_what_it_was_given(folder: Path, rows: list[dict[str, object]]) -> None:
    path = folder / "table.csv"
    assert write_csv(path, Table("table", COLUMNS, rows)) == len(rows)
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    for mine, theirs in zip(rows, read, strict=True):
        for name in COLUMNS:
            value = mine.get(name)
            text = "" if value is None else str(plain(value)).replace("\r\n", "\n").replace("\r", "\n")
            assert theirs[name] in (text, f"'{text}")
            if isinstance(value, str):
                assert not theirs[name].startswith(("=", "+", "-", "@"))


@given(rows=st.lists(ROW, max_size=8))
@settings(max_examples=60, deadline=None)
def test_parquet_gives_back_what_it_was_given(folder: Path, rows: list[dict[str, object]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "table.parquet"
    assert write_parquet(path, Table("table", COLUMNS, rows)) == len(rows)
    read = parquet.read_table(path).to_pylist()
    assert read == [{name: plain(row.get(name)) for name in COLUMNS} for row in rows]


def test_tables_longer_than_a_batch(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "long.parquet"
    rows = ({"count": n} for n in range(2 * ROWS + 1))
    assert write_parquet(path, Table("long", {"count": int}, rows)) == 2 * ROWS + 1
    assert parquet.read_table(path)["count"].to_pylist() == list(range(2 * ROWS + 1))


def test_a_write_that_fails_leaves_the_old_file(folder: Path) -> None:
    path = folder / "old.csv"
    path.write_text("old")

    def rows() -> object:
        yield {"count": 1}
        raise RuntimeError("the disk of the run went away")

    with pytest.raises(RuntimeError):
        write_csv(path, Table("old", {"count": int}, rows()))  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert not list(folder.glob("*.part"))
