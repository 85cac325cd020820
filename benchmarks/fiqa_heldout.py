"""Quality networks on held-out people of the training sets (a part of benchmarks/fiqa_tables.py).

The chips of people whom nothing was trained on, as they are or mildly damaged, in the made-up tracks of
fiqa/student/holdout.py; judges foamliu and dlib, FMR 1e-3. Read from what the student's stages `prepare` and
`embed` left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from facesieve.fiqa.student.dataset import read_versions
from facesieve.fiqa.student.holdout import make_holdout
from facesieve.stream.types import F32, U8

MILD = 1
"""Versions up to this one: the source as it is, and mildly damaged."""
JUDGES = ("foamliu", "dlib")


def heldout(
    data: Path, labels: Path, networks: Mapping[str, Callable[[U8], F32]]
) -> dict[str, dict[str, float]]:
    """Per network, and LightQNet, pAUC@.3 and gap closed by each judge, and Spearman to the labels.

    networks: chips (m, 112, 112, 3) → (m,) qualities. {} where the stages' files are not there.
    """
    if not (data / "versions.npz").is_file():
        return {}
    versions = read_versions(data)
    with np.load(labels) as table:
        label, held = table["label"].astype(np.float32), table["held_out"]
    sample = make_holdout(versions, held & (versions.version <= MILD))
    embeddings = {
        name: np.load(data / f"{name}.npy", mmap_mode="r")[0][sample.rows].astype(np.float32)
        for name in JUDGES
    }
    chips = np.asarray(versions.chips[sample.rows])
    scores = {"LightQNet": np.load(data / "lightqnet.npy")[sample.rows]}
    scores |= {name: network(chips) for name, network in networks.items()}
    scores["the labels"] = label[sample.rows]
    return {
        name: {"chips": len(chips)}
        | sample.figures(quality, embeddings)
        | {"Spearman to the labels": float(spearmanr(quality, label[sample.rows]).statistic)}
        for name, quality in scores.items()
    }
