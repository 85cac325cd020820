"""The audit log, whatever the clock does."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from facesieve.stream.serve.web.audit import Audit


def test_what_is_asked_for_often_gives_a_line_a_minute_also_after_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    path, now_s = tmp_path / "audit.jsonl", 0.0
    with closing(Audit(path, lambda: now_s)) as audit:

        def lines_at(at_s: float) -> int:
            nonlocal now_s
            now_s = at_s
            audit.note("me", "here", "snapshot", "gate", "1", often=True)
            return len(path.read_text().splitlines())

        assert [lines_at(at_s) for at_s in (10_000, 10_030, 10_061)] == [1, 1, 2]
        assert lines_at(5000) == 3, "set back: for 5,000 s nothing would be noted"
        assert [lines_at(at_s) for at_s in (5059, 5061)] == [3, 4]
    assert {json.loads(line)["action"] for line in path.read_text().splitlines()} == {"snapshot"}
