"""Tables of scores as CSV and Parquet, ours and strangers'."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesieve.fiqa import tables
from facesieve.fiqa.tables import read_columns, read_scored, write_parquet
from facesieve.stream.errors import SourceMissing, SourceUnreadable

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

COLUMNS = {"file": str, "score": float, "reason": str}
ROWS = [["a/1.jpg", 0.5, None], ["ž.jpg", None, "no face found"], ["c.jpg", -2.0, None]]


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    write_parquet(tmp_path / "s.parquet", COLUMNS, ROWS)
    (tmp_path / "s.csv").write_text("file,score,reason\na/1.jpg,0.5,\nž.jpg,,no face found\nc.jpg,-2,\n")
    scored = [("a/1.jpg", 0.5), ("c.jpg", -2.0)]
    assert read_scored(tmp_path / "s.parquet") == read_scored(tmp_path / "s.csv") == scored
    assert list(read_columns(tmp_path / "s.parquet", ("reason", "file")))[1] == ("no face found", "ž.jpg")
    assert [str(field.type) for field in parquet.read_schema(tmp_path / "s.parquet")] == [
        "string", "double", "string",
    ]  # fmt: skip


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "s.parquet", COLUMNS, [])
    assert read_scored(tmp_path / "s.parquet") == []


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("file,score\na,1\n", encoding="utf-8-sig")
    assert read_scored(tmp_path / "s.csv") == [("a", 1.0)]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"file,quality\na,1\n", "columns file and score"),
        (b"", "columns file and score"),
        (b"file,score\na,good\n", "numbers as scores"),
        (b"file,score\na,inf\n", "a finite score for a"),
        (b"file,score\n\xe9,1\n", "utf-8"),
        (b'file,score\n"' + b"x" * 200_000 + b'",1\n', "field larger than field limit"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    with pytest.raises(SourceUnreadable, match=what) as refused:
        read_scored(path)
    assert str(path) in str(refused.value)


def test_damaged_and_missing_parquet(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    with pytest.raises(SourceMissing, match=r"s\.parquet"):
        read_scored(path)
    path.write_bytes(b"file,score\na,1\n")
    with pytest.raises(SourceUnreadable, match=r"a Parquet table.*s\.parquet"):
        read_scored(path)
    write_parquet(path, {"file": str}, [["a"]])
    with pytest.raises(SourceUnreadable, match=r"columns file and score.*s\.parquet"):
        read_scored(path)


def test_a_small_parquet_that_promises_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    table = arrow.table({"file": ["x" * 1_000_000] * 40, "score": [1.0] * 40})
    parquet.write_table(table, path, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(tables, "MOST_BYTES", 1 << 25)
    with pytest.raises(SourceUnreadable, match=r"expected at most 33554432 bytes.*bomb\.parquet"):
        read_scored(path)


def test_equal_names_are_kept_once(tmp_path: Path) -> None:
    """A dictionary of one long word, named a hundred thousand times, costs one word."""
    path = tmp_path / "s.parquet"
    words = arrow.DictionaryArray.from_arrays(arrow.array([0] * 100_000), ["x" * 100_000])
    parquet.write_table(arrow.table({"file": words, "score": [1.0] * 100_000}), path)
    rows = read_scored(path)
    assert len(rows) == 100_000
    assert len({id(file) for file, _ in rows}) < 10
