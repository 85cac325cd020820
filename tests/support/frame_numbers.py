"""Films whose frames show their number, published by the clock: any two streams show the same at one time."""

from __future__ import annotations

import socket
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

BITS = 8
DARK, LIGHT = 50, 200


def numbered(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3) stripes of equal width, each a bit of the number, the lowest on the left."""
    bits = (number >> (np.arange(width) * BITS // width)) & 1
    row = np.where(bits, LIGHT, DARK).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number_in(picture: npt.NDArray[np.uint8]) -> int:
    """The number that a picture (h, w, 3) shows."""
    width = picture.shape[1]
    middles = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    lit = picture[:, middles, 1].mean(0) > (DARK + LIGHT) / 2
    return int((lit.astype(int) << np.arange(BITS)).sum())


class Publisher:
    """Sends frame ⌊t · fps⌋ mod 256 at time t + delay_s, as RTP to a port of this machine.

    One that would come late, as the processor was elsewhere, is left out: it would look like a later camera.
    Every frame is a key frame, so any one may be the first that a listener gets.
    """

    def __init__(self, port: int, *, width: int, height: int, fps: int = 5, delay_s: float = 0.0) -> None:
        self.port, self.width, self.height, self.fps, self.delay_s = port, width, height, fps, delay_s
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._left.set()
        self._thread.join(60)

    def _send(self) -> None:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = self.width, self.height, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, self.fps), Fraction(self.fps)
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "1", "threads": "1"}
        # A muxer of its own would give up when the server does not listen; a plain socket is not told.
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sequence = 0
        with out:
            number = int(time.time() * self.fps)
            while not self._left.is_set():
                number += 1
                due = number / self.fps + self.delay_s
                if self._left.wait(max(0.0, due - time.time())):
                    return
                if time.time() - due > 0.25 / self.fps:
                    continue
                picture = numbered(number % 256, self.width, self.height)
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts = number
                for packet in encoder.encode(frame):
                    for payload, last in _rtp_payloads(bytes(packet)):
                        stamp = number * 90000 // self.fps & 0xFFFFFFFF
                        head = bytes([0x80, 96 | (0x80 if last else 0)])
                        head += sequence.to_bytes(2, "big") + stamp.to_bytes(4, "big") + b"face"
                        sequence = sequence + 1 & 0xFFFF
                        try:
                            out.sendto(head + payload, ("127.0.0.1", self.port))
                        except ConnectionRefusedError:
                            continue


def _rtp_payloads(stream: bytes, most: int = 1200) -> list[tuple[bytes, bool]]:
    """H.264 in Annex B as RTP payloads (RFC 6184: single units, FU-A for long ones); the last is marked."""
    units = [unit.rstrip(b"\0") for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    made: list[bytes] = []
    for unit in units:
        if len(unit) <= most:
            made.append(unit)
            continue
        kind, rest = unit[0], unit[1:]
        parts = [rest[i : i + most] for i in range(0, len(rest), most)]
        for i, part in enumerate(parts):
            flags = (0x80 if i == 0 else 0) | (0x40 if i == len(parts) - 1 else 0)
            made.append(bytes([kind & 0xE0 | 28, flags | kind & 0x1F]) + part)
    return [(payload, i == len(made) - 1) for i, payload in enumerate(made)]


def numbered_film(
    path: Path, *, width: int = 320, height: int = 240, fps: int = 10, frames: int = 40
) -> Path:
    """A film whose frames show 0, 1, 2 and so on, a key frame every ten."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        for number in range(frames):
            picture = numbered(number % 256, width, height)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path
