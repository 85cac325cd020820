"""Names of methods, architectures and preprocessings; free of torch, so that the command line starts fast."""

from __future__ import annotations

from typing import Literal

from ..engines.models.recognisers import FAMILIES, Family

Method = Literal["faceqan", "diffiqa"]
StudentMethod = Literal["ediffiqa", "diffiqa-r", "aikd"]
Autocast = Literal["none", "bfloat16"]
Architecture = Literal["ediffiqa-t", "ediffiqa-s", "ediffiqa-m", "ediffiqa-l", "aikd", "diffiqa-r"]
Preprocessing = Literal["imagenet", "symmetric", "symmetric-bgr", "chips", "dlib", Family]


def plain(preprocessing: Preprocessing | None) -> Preprocessing | None:
    """What a published recogniser's name stands for; the others as they are."""
    if preprocessing in FAMILIES:
        return FAMILIES[preprocessing]
    return preprocessing
