"""PyAV's open, for files whose metadata need not be text."""

from __future__ import annotations

import functools
from collections.abc import Callable

import av
from av.container import InputContainer

_KEEPS_ANY_BYTES = 19
"""From this PyAV on undecodable metadata come as escapes; before, open refused them unless told otherwise."""

open_media: Callable[..., InputContainer] = (
    av.open
    if int(av.__version__.partition(".")[0]) >= _KEEPS_ANY_BYTES
    else functools.partial(av.open, metadata_errors="replace")
)
"""av.open for reading; what is not UTF-8 in titles and the like does no harm."""
