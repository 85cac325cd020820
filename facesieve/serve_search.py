"""From a picture to the embedding by which its main face is found among people."""

from __future__ import annotations

import numpy as np

from .build import Built
from .score import cut, prominence
from .serve_people import LivePeople
from .stream.decode.images import picture_of
from .stream.identity.store import IdentityStore
from .stream.types import F32, Crop, Frame

_MOST_PIXELS = 50_000_000


class Finder:
    """See stream.serve.web.parts.FaceFinder. Uses the service's own networks, in turn with its cameras."""

    def __init__(self, built: Built, people: LivePeople) -> None:
        self._built, self._people = built, people

    def find(self, data: bytes) -> F32 | None:
        """(d,) of the largest central face, None without one. Raises FrameTooLarge, NoFrames."""
        frame = Frame("search", 0, 0.0, None, picture_of(data, "the picture", max_pixels=_MOST_PIXELS))
        found = self._built.detector.detect(frame)
        if not len(found):
            return None
        crop = cut(frame, found, int(np.argmax(prominence(frame, found))))
        return self._embedding(crop) if isinstance(crop, Crop) else None

    def _embedding(self, crop: Crop) -> F32 | None:
        linking = self._built.linking
        if linking is not None and linking.embedder is not None:
            embedder = linking.embedder

            def embed(_store: IdentityStore) -> F32:
                return np.asarray(embedder.embed([crop])[0])

            return self._people.in_store(embed)  # the embedder is that thread's
        return self._built.scorer.score([crop])[0].embedding
