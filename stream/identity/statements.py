"""What the parts of the store in SQL share: its connection and its counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .database import Database, Row


class Statements:
    """Runs statements over one connection."""

    _database: Database

    def _next(self, counter: str) -> int:
        rows = self._run(
            "INSERT INTO counters (name, value) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value",
            (counter,),
        )
        return int(rows[0][0])

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._database.execute(sql, parameters)
