"""The embedding read out of every level of a finished trunk: one linear map, fitted in closed form.

What the last level forgot about who somebody is, the levels before it still know. Ridge regression from the
level means foretells each recogniser's embedding; those, side by side with the student's own, are rotated to
their 128 main axes, and that again is one linear map of the means. Trunk and quality stay bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ...stream.errors import ConfigError
from ...stream.types import F32
from .network import EMBEDDING, Student
from .recipe import Readout

_SUBSET = 3
"""Every so many rows find the main axes: there are tens of thousands, and 128 are wanted."""


def fit_readout(
    features: F32, teachers: Mapping[str, F32], own: F32, rows: NDArray[np.intp], settings: Readout
) -> tuple[F32, F32]:
    """(128, f) weight and (128,) bias of the map from level means to the embedding.

    features: (n, f) level means. teachers: per recogniser (n, d) unit embeddings that a chip should have.
    own: (n, 128) unit embeddings of the student as it is. rows: those to learn from. Raises ConfigError where
    those are too few to have 128 main axes.
    """
    if len(rows) < _SUBSET * EMBEDDING:
        raise ConfigError(f"expected {_SUBSET * EMBEDDING} chips or more to read out of, got {len(rows)}")
    mean, spread = features[rows].mean(axis=0), features[rows].std(axis=0) + 1e-3
    terms = np.concatenate([(features - mean) / spread, np.ones((len(features), 1), np.float32)], axis=1)
    gram = terms[rows].T @ terms[rows] + settings.decay * len(rows) * np.eye(terms.shape[1], dtype=np.float32)

    def solve(target: F32) -> F32:
        return np.asarray(np.linalg.solve(gram, terms[rows].T @ target[rows]), np.float32)

    parts = [share * unit_rows(terms @ solve(teachers[name])) for name, share in settings.shares.items()]
    joined = np.concatenate([*parts, settings.own_share * own], axis=1)
    joined -= joined[rows].mean(axis=0)
    axes = np.linalg.svd(joined[rows[::_SUBSET]], full_matrices=False)[2][:EMBEDDING]
    fitted = solve(joined @ axes.T)
    weight = fitted[:-1] / spread[:, None]
    return np.asarray(weight.T, np.float32), np.asarray(fitted[-1] - mean @ weight, np.float32)


def with_readout(student: Student, weight: F32, bias: F32) -> Student:
    """The student with this map in the place of its last layer."""
    wide = Student(hidden=student.l1.out_features, wide=True)
    state = {**student.state_dict(), "fc.weight": torch.from_numpy(weight), "fc.bias": torch.from_numpy(bias)}
    wide.load_state_dict(state)
    return wide.eval()


def unit_rows(rows: F32) -> F32:
    """Rows scaled to length one."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
