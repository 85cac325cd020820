"""Made-up tracks: frames that share one camera, codec and light, as the frames of a video do.

`draw_footage` chooses what a video is like, `draw_frame` what happens in one of its frames (motion, focus,
landmark error). Old web video is what it is after: small faces, heavy H.264, republished clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...stream.geometry import ARCFACE_POINTS
from ...stream.types import CHIP_PX
from ..faces import Faces
from .dataset import Versions
from .degrade import Degradation, degrade

FRAMES = 5
SOURCES = 3
"""Source images that a track is made of, about: its poses and expressions."""
MOST_TRACKS = 30
"""Tracks of one person: a few people with hundreds of images must not rule."""
FOOTAGE = 9
"""Version number of a track's chips: neither the source as it is (0) nor one of its damaged versions."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame to make. source: number of the source image. track: number of the track."""

    source: int
    track: int
    how: Degradation


def draw_footage(generator: np.random.Generator) -> Degradation:
    """What the frames of one video have in common."""
    g = generator
    return Degradation(
        eyes_px=float(np.exp(g.uniform(np.log(9.0), np.log(52.0)))),
        motion_px=0.0,
        motion_angle=float(g.uniform(0, np.pi)),
        defocus_px=float(g.gamma(2.0, 0.7)) if g.random() < 0.4 else 0.0,
        noise=float(g.gamma(1.5, 3.5)) if g.random() < 0.4 else 0.0,
        gain=float(np.exp(g.normal(-0.15, 0.3))),
        gamma=float(np.exp(g.normal(0.0, 0.25))),
        jpeg=0,
        h264=int(g.integers(22, 42)),
        upscale=float(g.uniform(1.3, 2.5)) if g.random() < 0.25 else 1.0,
        jitter=0.0,
        occlusion=None,
        seed=0,
    )


def draw_frame(footage: Degradation, generator: np.random.Generator) -> Degradation:
    """One frame of it: nearer or farther, moving or still, well or badly located."""
    g = generator
    return replace(
        footage,
        eyes_px=footage.eyes_px * float(np.exp(g.normal(0.0, 0.12))),
        motion_px=float(g.gamma(1.5, 4.0)) if g.random() < 0.5 else 0.0,
        motion_angle=float(g.normal(footage.motion_angle, 0.5)),
        defocus_px=footage.defocus_px * float(g.uniform(0.5, 1.5)),
        gain=footage.gain * float(np.exp(g.normal(0.0, 0.08))),
        h264=int(np.clip(footage.h264 + g.integers(-2, 4), 18, 46)),
        jitter=float(g.choice([0.01, 0.02, 0.04], p=[0.5, 0.35, 0.15])),
        occlusion=str(g.choice(["hand", "patch", "edge"])) if g.random() < 0.06 else None,
        seed=int(g.integers(2**31)),
    )


def plan_tracks(versions: Versions, mask: NDArray[np.bool_], seed: int) -> list[Shot]:
    """Tracks of all people of mask (n,) with two sources or more; tracks of a person share no source."""
    generator = np.random.default_rng(seed)
    clean = mask & (versions.version == 0)
    shots: list[Shot] = []
    track = 0
    for person in np.unique(versions.identity[clean]):
        sources = generator.permutation(versions.source[clean & (versions.identity == person)])
        if len(sources) < 2:
            continue
        for group in np.array_split(sources, max(2, round(len(sources) / SOURCES))):
            footage = draw_footage(generator)
            frames = max(FRAMES - 2, min(FRAMES, 2 * len(group)))
            shown = generator.permutation(np.resize(group, frames))
            shots += [Shot(int(source), track, draw_frame(footage, generator)) for source in shown]
            track += 1
    return shots


def thin_out(shots: Sequence[Shot], identities: NDArray[np.int32], most: int = MOST_TRACKS) -> list[Shot]:
    """Without what a person has beyond so many tracks. identities: (sources,) person of each source."""
    tracks: dict[int, set[int]] = {}
    kept = []
    for shot in shots:
        mine = tracks.setdefault(int(identities[shot.source]), set())
        if shot.track in mine or len(mine) < most:
            mine.add(shot.track)
            kept.append(shot)
    return kept


def build_tracks(tables: Sequence[Faces], versions: Versions, out: Path, seed: int = 11) -> None:
    """Writes chips.npy, versions.npz and track.npy (number of each chip's track) to out.

    tables: the folders that `versions` were made of, in that order.
    """
    person = versions.identity[versions.version == 0]
    every = np.ones(len(versions.source), bool)
    shots = thin_out(plan_tracks(versions, every, seed), person)
    ends = np.cumsum([len(table) for table in tables])
    out.mkdir(parents=True, exist_ok=True)
    chips = np.lib.format.open_memmap(out / "chips.npy", "w+", np.uint8, (len(shots), CHIP_PX, CHIP_PX, 3))
    eyes = np.zeros(len(shots), np.float32)
    for row, shot in enumerate(shots):
        folder = int(np.searchsorted(ends, shot.source, side="right"))
        table, place = tables[folder], shot.source - int(ends[folder]) + len(tables[folder])
        points = ARCFACE_POINTS if table.landmarks is None else table.landmarks[place]
        chips[row], eyes[row] = degrade(table.image(place), points, shot.how)
    chips.flush()
    source = np.array([shot.source for shot in shots], np.int32)
    np.savez(
        out / "versions.npz",
        source=source,
        version=np.full(len(shots), FOOTAGE, np.int8),
        identity=person[source],
        eyes_px=eyes,
    )
    np.save(out / "track.npy", np.array([shot.track for shot in shots], np.int32))
