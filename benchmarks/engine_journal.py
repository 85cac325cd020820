"""What a cut-off run of engines.py has measured already."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any


class Journal:
    """What was measured so far with these options, one line a network; gone once the report is written."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        said = {k: v for k, v in vars(options).items() if k not in ("shared", "out", "fresh")}
        name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
        self._path = folder / f"unfinished-{name}.jsonl"
        if options.fresh:
            self._path.unlink(missing_ok=True)
        text = self._path.read_text() if self._path.is_file() else ""
        # A line without its end was being written when the run was cut off.
        self.done: list[dict[str, Any]] = [json.loads(line) for line in text.split("\n")[:-1]]

    def has(self, network: str) -> bool:
        return any(entry["network"] == network for entry in self.done)

    def add(self, network: str, rows: list[dict[str, Any]], rates: dict[str, float]) -> None:
        self.done.append({"network": network, "rows": rows, "rates": rates})
        with self._path.open("w") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in self.done)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
