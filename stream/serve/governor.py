"""What is given up first when the machine cannot keep up: how often a camera is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from .reader import Reader


@dataclass(slots=True)
class _Record:
    frames: int = 0
    dropped: int = 0
    bad: int = 0
    good: int = 0


class Governor:
    """Lowers the cadence of a camera whose frames are dropped, and raises it again when there is room.

    Two looks in a row at which more than a tenth of the due frames were dropped halve the cadence, down to
    LEAST_HZ; below that frames are dropped. Five looks in a row without a drop raise it by a half, up to what
    was asked for. Called every EVERY_S.
    """

    EVERY_S = 2.0
    LEAST_HZ = 1.0
    _EVERY_FRAME_HZ = 25.0
    _MANY = 0.1

    def __init__(self) -> None:
        self._records: WeakKeyDictionary[Reader, _Record] = WeakKeyDictionary()

    def hz(self, camera: Reader, wanted_hz: float) -> float | None:
        """The cadence that the camera should have from now on; None leaves it. wanted_hz: 0 = every frame."""
        record = self._records.setdefault(camera, _Record())
        taken, dropped = camera.given, camera.buffer.dropped
        due, lost = taken - record.frames, dropped - record.dropped
        record.frames, record.dropped = taken, dropped
        if due <= 0:
            return None
        if lost > self._MANY * due:
            record.bad, record.good = record.bad + 1, 0
        elif lost == 0:
            record.bad, record.good = 0, record.good + 1
        now_hz = camera.hz or self._EVERY_FRAME_HZ
        if record.bad >= 2 and now_hz > self.LEAST_HZ:
            record.bad = 0
            return max(self.LEAST_HZ, now_hz / 2)
        if record.good >= 5 and camera.hz != wanted_hz:
            record.good = 0
            higher = now_hz * 1.5
            return wanted_hz if higher >= (wanted_hz or self._EVERY_FRAME_HZ) else higher
        return None
