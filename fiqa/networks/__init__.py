"""Backbones and students, state-dict compatible with the published checkpoints."""

from ..methods import Architecture
from .foamliu import FoamliuMobileFaceNet
from .iresnet import IResNet
from .mobilefacenet import MobileFaceNet
from .students import (
    AIKD,
    ARCHITECTURES,
    EMBEDDING,
    Backbone,
    DifFIQAR,
    EDifFIQA,
    QualityMLP,
    Student,
    build_student,
    embedding_size_of,
)

__all__ = [
    "AIKD",
    "ARCHITECTURES",
    "EMBEDDING",
    "Architecture",
    "Backbone",
    "DifFIQAR",
    "EDifFIQA",
    "FoamliuMobileFaceNet",
    "IResNet",
    "MobileFaceNet",
    "QualityMLP",
    "Student",
    "build_student",
    "embedding_size_of",
]
