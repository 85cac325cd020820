"""validation.json and validation.html: a validation to read by machine and by eye."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...stream.sinks.files import write_whole
from ...stream.sinks.folder import VALIDATION
from ...stream.sinks.words import clock
from ...stream.types import U8
from ..selection import Interval
from .figures import Recognition, Regret
from .plots import agreement_plot, regret_plot, similarity_plot
from .run import Validation

SCHEMA = "facesieve.validation/1"
WORST = 12
"""Tracks whose kept shot is shown beside what the teacher would have kept."""

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
.verdict { padding: .6rem 1rem; border-left: .4rem solid; font-weight: 600 }
.pass { border-color: #009e73 } .fail { border-color: #d55e00 }
table { border-collapse: collapse }
th, td { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #8884; overflow-wrap: anywhere }
th { min-width: 7rem }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } .plots figure { margin: 0; flex: 1 1 20rem }
svg { max-width: 100%; height: auto; background: #fff }
.worst { display: flex; flex-wrap: wrap; gap: 1.2rem; padding: 0; list-style: none }
h1, .verdict { overflow-wrap: anywhere }
.worst img { border-radius: 4px } figcaption, small { color: #777 }
"""


def write_reports(validation: Validation, out: Path) -> tuple[Path, Path]:
    """Writes both files into out, a folder that is there; returns their paths."""
    data, page = (out / name for name in VALIDATION)
    write_whole(data, (json.dumps(as_json(validation), indent=2, allow_nan=False) + "\n").encode())
    write_whole(page, as_html(validation).encode())
    return data, page


def as_json(v: Validation) -> dict[str, Any]:
    """JSON values only; the same validation gives the same."""
    faces = zip(
        v.sample.tracks.tolist(),
        v.sample.frames.tolist(),
        v.sample.ranks.tolist(),
        v.sample.student.tolist(),
        v.teacher.tolist(),
        strict=True,
    )
    return {
        "schema": SCHEMA,
        "verdict": v.verdict.line,
        "passed": v.verdict.passed,
        "thresholds": asdict(v.plan.wanted),
        "student": v.student,
        "teacher": json.loads(json.dumps(v.settings)),
        "recogniser": v.recogniser,
        "sample": {
            "seed": v.plan.seed,
            "candidates": v.candidates,
            "kept": int((v.sample.ranks > 0).sum()),
            "others": int((v.sample.ranks == 0).sum()),
            "tracks": len(np.unique(v.sample.tracks)),
        },
        "spearman": {
            "overall": _numbers(v.agreement.overall),
            "within_tracks": _numbers(v.agreement.within),
            "resampled": v.agreement.resampled,
        },
        "regret": _regret(v.regret),
        "recognition": _recognition(v.recognition),
        "faces": [
            {"track": t, "frame_index": f, "rank": r, "score": _round(s), "teacher": _round(q)}
            for t, f, r, s, q in faces
        ],
    }


def as_html(v: Validation) -> str:
    """One page with everything inside it."""
    method = str(v.settings["method"])
    plots = [("Scores of the run and of the teacher", agreement_plot(v.sample, v.teacher, method))]
    if v.regret is not None:
        plots.append(("What the kept shot lacks, by the teacher", regret_plot(v.regret)))
    if isinstance(v.recognition, Recognition):
        plots.append(("What the recogniser makes of the faces", similarity_plot(v.recognition)))
    figures = "".join(f"<figure>{svg}<figcaption>{escape(name)}</figcaption></figure>" for name, svg in plots)
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in _rows(v))
    source = (
        v.results.run.source.name if v.results.run and v.results.run.source.name else v.results.folder.name
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>facesieve validate: {escape(source)}</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>'
        f"<h1>Validation of {escape(source)}</h1>\n"
        f'<p class="verdict {"pass" if v.verdict.passed else "fail"}">{escape(v.verdict.line)}</p>\n'
        f'<table>{rows}</table>\n<div class="plots">{figures}</div>\n{_worst(v)}</body></html>\n'
    )


def _rows(v: Validation) -> list[tuple[str, str]]:
    kept = int((v.sample.ranks > 0).sum())
    rows = [
        ("Scorer of the run", v.student or "none kept"),
        ("Teacher", ", ".join(f"{name} {value}" for name, value in v.settings.items())),
        ("Recogniser", v.recogniser),
        ("Looked at", f"{kept} kept and {len(v.sample) - kept} of {v.candidates - kept} other candidates"),
        ("Spearman, all faces", _words(v.agreement.overall)),
        ("Spearman within tracks", _words(v.agreement.within)),
        ("Regret of the best shot", _words(v.regret.mean if v.regret else None)),
        ("Regret as a share of chance’s", _words(v.regret.share if v.regret else None)),
    ]
    if isinstance(v.recognition, Recognition):
        rows += [
            (
                "Recognition error of the best shots",
                f"{_words(v.recognition.kept)}, {v.recognition.tracks} tracks",
            ),
            ("Recognition error of random frames", _words(v.recognition.chance)),
            ("Rise over random frames", _words(v.recognition.rise)),
        ]
    else:
        rows.append(("Recognition error", f"not told: {v.recognition}"))
    return rows


def _worst(v: Validation) -> str:
    """The tracks with most regret: what was kept, what the teacher would have kept."""
    if v.regret is None or not (v.regret.regrets > 0).any():
        return ""
    cards = []
    for i in np.argsort(-v.regret.regrets, kind="stable")[:WORST]:
        if v.regret.regrets[i] > 0:
            pair = [
                f'<img src="{_picture(v.chips[row])}" width="112" height="112" alt="{name}">'
                f" <small>{v.teacher[row]:.3f} at {clock(float(v.sample.times_s[row]))}</small>"
                for name, row in (("kept", v.regret.kept_rows[i]), ("best", v.regret.best_rows[i]))
            ]
            cards.append(f"<li>Track {v.regret.tracks[i]}<br>{'<br>'.join(pair)}</li>")
    return (
        "<h2>Most regret: what was kept, and below it what the teacher would have kept</h2>"
        f'<ul class="worst">{"".join(cards)}</ul>\n'
    )


def _picture(chip: U8) -> str:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(chip[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _numbers(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"value": _round(interval.value), "low": _round(interval.low), "high": _round(interval.high)}


def _words(interval: Interval | None) -> str:
    if interval is None:
        return "cannot be told: too few faces"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _regret(regret: Regret | None) -> dict[str, Any] | None:
    if regret is None:
        return None
    return {
        "mean": _numbers(regret.mean),
        "share_of_chance": _numbers(regret.share),
        "tracks": {
            str(t): _round(r) for t, r in zip(regret.tracks.tolist(), regret.regrets.tolist(), strict=True)
        },
    }


def _recognition(recognition: Recognition | str) -> dict[str, Any]:
    if isinstance(recognition, str):
        return {"not_told": recognition}
    return {
        "threshold": _round(recognition.threshold),
        "kept": _numbers(recognition.kept),
        "random": _numbers(recognition.chance),
        "rise": _numbers(recognition.rise),
        "tracks": recognition.tracks,
        "mated": len(recognition.mated),
        "impostors": len(recognition.impostor),
    }
