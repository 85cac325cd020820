"""What `facesieve match` answers: values, and how they are written."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from .enrolment import Enrolment, Unused
from .stream.matching import Candidate

UNKNOWN = "unknown"
COLUMNS = (
    "probe", "folder", "source", "track", "identity", "shots", "decision", "rank", "person", "similarity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """A track or an identity of the run (then track is None), and whom it resembles.

    folder: of its source, below the run's; "" where it is the same. shots: how many faces the template is
    made of; 0 where none could be read, and then there are no candidates. decision: the best candidate's name
    where it reaches the threshold, else None: unknown.
    """

    folder: str
    source: str
    track: int | None
    identity: int | None
    shots: int
    candidates: tuple[Candidate, ...]
    decision: str | None


@dataclass(frozen=True, slots=True)
class Matches:
    """The whole answer. fmr: what the threshold was taken for, None where it was given. alike: people of the
    gallery that the threshold takes for one. unused: shots of the run without a usable chip."""

    embedder: str
    threshold: float
    fmr: float | None
    enrolment: Enrolment
    alike: tuple[tuple[str, str, float], ...]
    probes: tuple[Probe, ...]
    unused: tuple[Unused, ...]

    @property
    def whole(self) -> bool:
        """Whether everybody of the gallery was enrolled and every kept shot was used."""
        return not self.enrolment.absent and not self.unused


def as_csv(matches: Matches) -> str:
    """One row a candidate, best first; one row without a candidate where no chip could be read."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for probe in matches.probes:
        known = ["" if value is None else value for value in (probe.track, probe.identity)]
        start = ["identity" if probe.track is None else "track", probe.folder, probe.source, *known]
        start += [probe.shots, probe.decision or UNKNOWN]
        for rank, candidate in enumerate(probe.candidates, 1):
            writer.writerow([*start, rank, candidate.person, f"{candidate.similarity:.6f}"])
        if not probe.candidates:
            writer.writerow([*start, "", "", ""])
    return text.getvalue()


def as_json(matches: Matches) -> str:
    """The whole answer; docs/match.md describes it."""
    enrolment = matches.enrolment
    people = zip(enrolment.enrolled.people, enrolment.files, strict=True)
    whole: dict[str, Any] = {
        "schema": "facesieve.match/1",
        "embedder": matches.embedder,
        "threshold": round(matches.threshold, 6),
        "fmr": matches.fmr,
        "gallery": {
            "people": [{"person": person, "faces": faces} for person, faces in people],
            "absent": list(enrolment.absent),
            "unused": [{"file": file.file, "reason": file.reason} for file in enrolment.unused],
            "alike": [
                {"people": [first, second], "similarity": round(similarity, 6)}
                for first, second, similarity in matches.alike
            ],
        },
        "unused": [{"file": file.file, "reason": file.reason} for file in matches.unused],
        "probes": [
            {
                "probe": "identity" if probe.track is None else "track",
                "folder": probe.folder,
                "source": probe.source,
                "track": probe.track,
                "identity": probe.identity,
                "shots": probe.shots,
                "decision": probe.decision,
                "candidates": [
                    {"person": candidate.person, "similarity": round(candidate.similarity, 6)}
                    for candidate in probe.candidates
                ],
            }
            for probe in matches.probes
        ],
    }
    return json.dumps(whole, indent=1) + "\n"
