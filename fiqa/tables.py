"""Tables of scores, one row a face: CSV, or Parquet where the file is named so."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..stream.errors import EngineUnavailable, SourceMissing, SourceUnreadable
from ..stream.sinks.files import replacing

PARQUET: Final = ".parquet"
MOST_BYTES: Final = 1 << 31
"""Of a Parquet file's content when it is unpacked: some hundred bytes can promise more than a machine has."""

Row = tuple[Any, ...]


def is_parquet(path: Path) -> bool:
    """Whether the file's name asks for Parquet."""
    return path.suffix.lower() == PARQUET


def need_arrow() -> None:
    """Raises EngineUnavailable where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as missing:
        raise EngineUnavailable("Parquet needs `pip install 'facesieve[parquet]'`") from missing


def read_scored(path: Path) -> list[tuple[str, float]]:
    """(file, score) of every row with a score, in order: what `facesieve score` and `label` write.

    Rows without a score (faces that could not be scored) are left out. Raises SourceMissing, SourceUnreadable
    with the path for a table that lacks a column, or holds a score that is no finite number.
    """
    rows = []
    for file, score in read_columns(path, ("file", "score")):
        if score is None:
            continue
        try:
            value = float(score)
        except (TypeError, ValueError) as damage:
            raise SourceUnreadable(f"expected numbers as scores in {path}: {damage}") from damage
        if not math.isfinite(value):
            raise SourceUnreadable(f"expected a finite score for {file} in {path}")
        rows.append((str(file), value))
    return rows


def read_columns(path: Path, names: Sequence[str]) -> Iterator[Row]:
    """These columns, row by row: text or None from a CSV, of the column's type or None from Parquet."""
    if not path.is_file():
        raise SourceMissing(f"expected a table of scores at {path}: no such file")
    return _parquet(path, names) if is_parquet(path) else _csv(path, names)


def _csv(path: Path, names: Sequence[str]) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            _check(path, names, table.fieldnames or ())
            for row in table:
                yield tuple(row[name] or None for name in names)
    except OSError as cause:
        raise SourceMissing(f"expected a table of scores at {path}: {cause.strerror}") from cause
    except (UnicodeDecodeError, csv.Error) as damage:
        raise SourceUnreadable(f"expected a table of scores in {path}: {damage}") from damage


def _parquet(path: Path, names: Sequence[str]) -> Iterator[Row]:
    need_arrow()
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        about = parquet.read_metadata(path)
        _check(path, names, about.schema.names)
        promised = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if promised > MOST_BYTES:
            raise SourceUnreadable(f"expected at most {MOST_BYTES} bytes of scores, got {promised}: {path}")
        with parquet.ParquetFile(path, read_dictionary=list(names)) as file:
            for batch in file.iter_batches(columns=list(names)):
                yield from zip(*(_cells(batch.column(name)) for name in names), strict=True)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as damage:
        raise SourceUnreadable(f"expected a Parquet table of scores in {path}: {damage}") from damage


def _cells(column: Any) -> list[Any]:
    """Values of a column; equal texts are one object, however often they occur."""
    import pyarrow as arrow

    if not isinstance(column, arrow.DictionaryArray):
        values: list[Any] = column.to_pylist()
        return values
    words = column.dictionary.to_pylist()
    return [None if index is None else words[index] for index in column.indices.to_pylist()]


def _check(path: Path, names: Sequence[str], there: Sequence[str]) -> None:
    if not set(names) <= set(there):
        raise SourceUnreadable(
            f"expected a table with the columns {' and '.join(names)} in {path}, got {list(there)[:20]}"
        )


def write_parquet(path: Path, columns: Mapping[str, type], rows: Sequence[Sequence[Any]]) -> None:
    """Writes the table whole, in the place of an older one. columns: name → str or float; see need_arrow."""
    need_arrow()
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    kinds = {str: arrow.string(), float: arrow.float64()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    cells = zip(*rows, strict=True) if rows else ((),) * len(columns)
    arrays = [arrow.array(list(part), field.type) for part, field in zip(cells, schema, strict=True)]
    with replacing(path) as fd, os.fdopen(os.dup(fd), "wb") as file:
        parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), file)
