"""Distillation: from a teacher's labels to a student that answers in one pass.

eDifFIQA (TBIOM 2024), AI-KD (IWBF 2024, arXiv 2404.09555), DifFIQA(R) (IJCB 2023, arXiv 2305.05768).
"""

from .alignment import JITTER_PX, draw_jitter, jitter_landmarks
from .centres import ClassCentres, class_centres, normalise_labels, validation_rows
from .targets import aikd_loss, c3_target, ediffiqa_loss

__all__ = [
    "JITTER_PX",
    "ClassCentres",
    "aikd_loss",
    "c3_target",
    "class_centres",
    "draw_jitter",
    "ediffiqa_loss",
    "jitter_landmarks",
    "normalise_labels",
    "validation_rows",
]
