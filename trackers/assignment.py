"""Which detection belongs to which track: similarities and the linear assignment between them."""

from __future__ import annotations

import lap
import numpy as np
import numpy.typing as npt

from ..stream.geometry import iou

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]


def likeness(a: Floats, b: Floats, expand: float, max_growth: float) -> npt.NDArray[np.float64]:
    """How well boxes a (n, 4) and b (m, 4), x0 y0 x1 y1, fit one face → (n, m) in [0, 1]: intersection over
    union of the boxes, each grown by expand of its own width and height on every side, times the ratio of the
    smaller height to the larger.

    Two grown boxes of one size overlap up to a distance of (1 + 2·expand) widths, so that a face is known
    again that moved by more than its width since it was last seen (Yang et al., "Hard to Track Objects with
    Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", WACV 2023,
    section 3.2). Heights tell apart faces at different distances that cross in the picture (Yang et al.,
    "Hybrid-SORT: Weak Cues Matter for Online Multi-Object Tracking", AAAI 2024, height-modulated IoU).
    0 where width or height differ by more than the factor max_growth.
    """
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    if expand:
        a = np.concatenate([a[:, :2] - expand * size_a, a[:, 2:] + expand * size_a], 1)
        b = np.concatenate([b[:, :2] - expand * size_b, b[:, 2:] + expand * size_b], 1)
    ratio = size_a[:, None] / size_b[None]
    ratio = np.minimum(ratio, 1 / ratio)
    return np.where((ratio * max_growth >= 1).all(-1), iou(a, b) * ratio[..., 1], 0.0)


def assign(similarity: Floats, least: float | Floats, bonus: Floats | None = None) -> tuple[Rows, Rows]:
    """Pairs of rows and columns of similarity (n, m), no row or column twice, each of similarity ≥ least > 0
    (one for all, or (n, 1), one a row), with the greatest sum of similarity + bonus.

    bonus (n, m) ≥ 0 shifts the preference among admissible pairs, not which are admissible. Pairs that no
    other pair competes with are taken as they are; only the rest is solved (Jonker, Volgenant, 1987).
    """
    allowed = similarity >= least
    worth = similarity if bonus is None else similarity + bonus
    alone = allowed & (allowed.sum(1, keepdims=True) == 1) & (allowed.sum(0, keepdims=True) == 1)
    rows, cols = alone.nonzero()
    contested = allowed & ~alone
    if not contested.any():
        return rows, cols
    some_rows, some_cols = contested.any(1).nonzero()[0], contested.any(0).nonzero()[0]
    part = np.ix_(some_rows, some_cols)
    # A pair costs −worth and leaving both alone nothing, so every admissible pair is worth having; what is
    # not admissible costs more than that and is never taken.
    limit = float(worth[part].max()) + 1.0
    cost = np.where(contested[part], limit - worth[part], 2 * limit)
    column_of, _ = lap.lapjv(cost, cost_limit=limit, return_cost=False)
    chosen = (column_of >= 0).nonzero()[0]
    picked = np.asarray(column_of)[chosen]
    ok = contested[part][chosen, picked]
    rows = np.concatenate([rows, some_rows[chosen[ok]]])
    cols = np.concatenate([cols, some_cols[picked[ok]]])
    return rows, cols
