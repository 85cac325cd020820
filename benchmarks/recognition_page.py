"""The figures of benchmarks/recognition.py as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recognition_policies import REFERENCES, STUDENT_NAME

COLUMNS = (
    "frames given",
    "calls",
    "rank-1",
    "FNIR",
    "less all frames",
    "less a random frame",
    "FNIR, enrolled likewise",
)
HEAD = """# Recognition with the selected frames

`python benchmarks/recognition.py`: {splits} splits, student {student}; 95 % intervals resample people,
{resamples} times, with the same draws for all policies.

Rank-1: share of searches whose mate comes first. FNIR: share of searches of enrolled people that do not
return the mate first and above the threshold at which 1 % of the searches of others return anybody (FPIR 1 %;
ISO/IEC 19795-1, NIST FRTE 1:N). All in %, differences of FNIR in points: below 0 the policy is better. A
gallery is the mean of all frames of the enrolling video, whatever the policy, but in the last column, where
the policy also picks the frames that enrol. Calls: faces embedded of each video. The student's quality labels
came from foamliu, dlib and LightQNet, on other people: none is a stranger to it.

## YouTube Faces: {people} people, {videos} videos of 5 frames

Half the people enrol with one video each, the other half are strangers.
"""
SHIPPED = """The student's own embedding of 3 frames at the thresholds that `facesieve match --fmr` takes
(measured on photographs), with {enrolled} people enrolled:

| FMR | threshold | FNIR | FPIR |
|---|---|---|---|
"""
CLIPS = """## {clips} clips of {people} people through the pipeline

{decoded:.0f} frames a clip, {faces:.0f} scored faces in its longest track. Three people enrol with one clip
each, beside 163 from YouTube Faces who never come; the clips of the other two are the strangers'.
facesieve-t: the shots that `facesieve run` keeps by default; all others pick among all frames. Five people
decide this.
"""


def page(result: Mapping[str, Any]) -> list[str]:
    """Everything."""
    films, clips = result["ytf"], result["clips"]
    facts = {key: result[key] for key in ("splits", "resamples")}
    lines = [HEAD.format(student=result["student_sha256"][:8], **facts, **films)]
    for name, rows in films["recognisers"].items():
        lines += table(name, rows)
    own = films["recognisers"][STUDENT_NAME][f"{STUDENT_NAME}, 3 frames"]["at_shipped_thresholds"]
    lines.append(
        SHIPPED.format(enrolled=films["people"] // 2)
        + "".join(
            f"| {at['fmr']:g} | {at['threshold']:.3f} | {at['fnir']:.1%} | {at['fpir']:.1%} |\n" for at in own
        )
    )
    lines.append(CLIPS.format(**clips))
    for name, rows in clips["recognisers"].items():
        lines += table(name, rows)
    return lines


def table(name: str, rows: Mapping[str, Any]) -> list[str]:
    """One recogniser's figures."""
    lines = [f"Recogniser {name}", "", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for policy, row in rows.items():
        above = row["fnir_above"]
        figures = (
            row["rank_one"],
            row["fnir"],
            above[REFERENCES[0]],
            above[REFERENCES[1]],
            row["fnir_enrolled_likewise"],
        )
        cells = [f"{_percent(value)} [{_percent(low)}, {_percent(high)}]" for value, low, high in figures]
        lines.append(f"| {policy} | {row['calls_per_video']:.1f} | {' | '.join(cells)} |")
    return [*lines, ""]


def _percent(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:.1f}"
