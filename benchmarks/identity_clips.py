"""The asl clips joined to one video, and everyone's shots as a picture to look at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

RATE = 30
"""Frames a second of the asl clips."""
Record = dict[str, Any]


def join(clips: Sequence[Path], target: Path) -> dict[str, tuple[float, float]]:
    """The clips encoded anew, nearly without loss, as one video; where each begins and ends in it, s."""
    spans: dict[str, tuple[float, float]] = {}
    index = 0
    with av.open(str(target), "w") as sink:
        stream = sink.add_stream("libx264", rate=RATE, options={"crf": "12", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for clip in clips:
            begun = index
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    picture = frame.reformat(640, 480, "yuv420p")
                    picture.pts, picture.time_base = index, Fraction(1, RATE)
                    sink.mux(stream.encode(picture))
                    index += 1
            spans[clip.stem] = (begun / RATE, index / RATE)
        sink.mux(stream.encode(None))
    return spans


def sheet(out: Path, target: Path) -> None:
    """Everyone's shots, a row a person, with the id in front."""
    rows = []
    for line in (out / "identities.jsonl").read_text().splitlines():
        record = json.loads(line)
        tiles = [cv2.imread(str(path)) for path in _chips(out, record)[:16]]
        tiles += [np.zeros((112, 112, 3), np.uint8)] * (16 - len(tiles))
        label = np.zeros((112, 60, 3), np.uint8)
        cv2.putText(label, str(record["identity"]), (2, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255))
        rows.append(np.hstack([label, *tiles]))
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.vstack(rows))


def _chips(out: Path, record: Record) -> list[Path]:
    return [
        path
        for track in record["tracks"]
        for path in sorted((out / track["folder"] / "shots" / str(track["track"])).glob("*_chip.png"))
    ]
