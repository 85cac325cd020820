"""A USB camera made of software: real descriptors and requests over USB/IP, for the kernel's own USB driver.

    python usb_camera.py FOLDER

FOLDER has the pictures: *.jpg of one size, sent as MJPEG, and *.yuyv of half that size. The kernel (vhci_hcd)
is the other end of a socket: this process attaches itself and answers as a camera with one bulk endpoint
does, until it ends, which is the cable being pulled. SIGUSR1: falls silent, and goes on with the next.
Needs root and the modules vhci_hcd and uvcvideo. USB Video Class 1.0; USB/IP as the kernel documents it.
"""

from __future__ import annotations

import argparse
import select
import signal
import socket
import struct
import time
from collections import deque
from pathlib import Path

import cv2

HUB = Path("/sys/devices/platform/vhci_hcd.0")
HIGH_SPEED, DEVICE_ID = 3, 1 << 16 | 2
UNLINK, SUBMITTED, UNLINKED = 2, 3, 4
RATES = [10, 5]
PAYLOAD_BYTES = 16384  # of one bulk transfer: a header of 2 bytes and part of a picture
STALL = -32
STRINGS = ("facesieve", "Software camera", "0001")  # maker, model, serial number
YUY2 = bytes.fromhex("5955593200001000800000aa00389b71")
SET_CUR, GET_INFO, GET_LEN = 0x01, 0x86, 0x85


class Pictures:
    """Of one format: its size in pixels and the bytes of each picture."""

    def __init__(self, files: list[Path], width: int, height: int) -> None:
        self.width, self.height = width, height
        self.bytes = [file.read_bytes() for file in files]
        self.most = max(map(len, self.bytes))


def from_folder(folder: Path) -> tuple[Pictures, Pictures]:
    """(MJPEG, YUYV)."""
    films, raw = sorted(folder.glob("*.jpg")), sorted(folder.glob("*.yuyv"))
    height, width = cv2.imread(str(films[0])).shape[:2]
    return Pictures(films, width, height), Pictures(raw, width // 2, height // 2)


def device_descriptor() -> bytes:
    return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x200, 0xEF, 2, 1, 64, 0x1209, 1, 0x100, 1, 2, 3, 1)


def configuration(formats: tuple[Pictures, Pictures], rates: list[int]) -> bytes:
    """The descriptors of the configuration: video control, video streaming, one bulk endpoint."""
    camera = struct.pack("<BBBBHBBHHHB3s", 18, 0x24, 2, 1, 0x0201, 0, 0, 0, 0, 0, 3, bytes(3))
    output = struct.pack("<BBBBHBBB", 9, 0x24, 3, 2, 0x0101, 0, 1, 0)
    control = struct.pack("<BBBHHIBB", 13, 0x24, 1, 0x0100, 13 + len(camera) + len(output), 1_000_000, 1, 1)
    mjpeg = struct.pack("<BBBBBBBBBBB", 11, 0x24, 6, 1, 1, 1, 1, 0, 0, 0, 0)
    plain = struct.pack("<BBBBB16sBBBBBB", 27, 0x24, 4, 2, 1, YUY2, 16, 1, 0, 0, 0, 0)
    color = struct.pack("<BBBBBB", 6, 0x24, 0x0D, 1, 1, 4)
    body = mjpeg + _frame(7, formats[0], rates) + color + plain + _frame(5, formats[1], rates) + color
    header = struct.pack("<BBBBHBBBBBBBBB", 15, 0x24, 1, 2, 15 + len(body), 0x81, 0, 2, 0, 0, 0, 1, 0, 0)
    parts = struct.pack("<BBBBBBBB", 8, 0x0B, 0, 2, 0x0E, 3, 0, 0)
    parts += struct.pack("<BBBBBBBBB", 9, 4, 0, 0, 0, 0x0E, 1, 0, 0) + control + camera + output
    parts += struct.pack("<BBBBBBBBB", 9, 4, 1, 0, 1, 0x0E, 2, 0, 0) + header + body
    parts += struct.pack("<BBBBHB", 7, 5, 0x81, 2, 512, 0)
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(parts), 2, 1, 0, 0x80, 250) + parts


def _frame(kind: int, pictures: Pictures, rates: list[int]) -> bytes:
    bits = pictures.most * 8
    steps = [10_000_000 // rate for rate in rates]  # in units of 100 ns
    return struct.pack(
        "<BBBBBHHIIIIB", 26 + 4 * len(rates), 0x24, kind, 1, 0, pictures.width, pictures.height,
        bits * min(rates), bits * max(rates), pictures.most, steps[0], len(rates),
    ) + struct.pack(f"<{len(rates)}I", *steps)  # fmt: skip


class UsbCamera:
    """Answers the kernel's USB requests; sends pictures while it streams."""

    def __init__(self, formats: tuple[Pictures, Pictures], rates: list[int], peer: socket.socket) -> None:
        self._formats, self._rates, self._peer = formats, rates, peer
        self._configuration = configuration(formats, rates)
        self._wish = self._settled(struct.pack("<HBBI", 0, 1, 1, 10_000_000 // rates[0]))
        self._waiting: deque[tuple[int, int]] = deque()  # (sequence number, bytes) of bulk transfers
        self._chunks: deque[bytes] = deque()
        self._streams, self._due, self._sent = False, 0.0, 0
        self.silent = False

    def serve(self) -> None:
        """Until the kernel hangs up."""
        while True:
            wait = max(0.0, self._due - time.monotonic()) if self._streams else 1.0
            ready, _, _ = select.select([self._peer], [], [], 0 if self._chunks and self._waiting else wait)
            if ready and not self._request():
                return
            self._pictures()

    def _request(self) -> bool:
        head = self._read(48)
        if not head:
            return False
        command, number, _, to_host, endpoint = struct.unpack_from(">5I", head)
        if command == UNLINK:
            gone = struct.unpack_from(">I", head, 20)[0]
            held = [each for each in self._waiting if each[0] == gone]
            self._waiting = deque(each for each in self._waiting if each[0] != gone)
            self._peer.sendall(struct.pack(">5Ii24x", UNLINKED, number, 0, 0, 0, -104 if held else 0))
            return True
        length = struct.unpack_from(">i", head, 24)[0]
        data = b"" if to_host else self._read(length)
        if endpoint:
            self._waiting.append((number, length))
            return True
        answer = self._control(head[40:48], data)
        if answer is None:
            self._answer(number, b"", STALL)
        elif to_host:
            self._answer(number, answer[:length])
        else:
            self._answer(number, b"", sent=length)
        return True

    def _control(self, setup: bytes, data: bytes) -> bytes | None:
        """The answer to a request of the control endpoint; None refuses it."""
        kind, request, value, index, _length = struct.unpack("<BBHHH", setup)
        match kind, request:
            case 0x80, 6:
                return self._descriptor(value >> 8, value & 255)
            case (0x00, 9) | (0x01, 11):  # set configuration, set interface
                return b""
            case 0x02, 1:  # clear the endpoint's halt: the driver's way to stop
                self._streams = False
                self._chunks.clear()
                return b""
            case 0x80 | 0x81 | 0x82, 0:  # status
                return bytes(2)
            case ((0x21 | 0xA1), _) if index == 1 and value >> 8 in (1, 2):
                return self._negotiate(request, value >> 8 == 2, data)
        return None

    def _descriptor(self, kind: int, number: int) -> bytes | None:
        if kind == 1:
            return device_descriptor()
        if kind == 2:
            return self._configuration
        if kind == 3 and number <= len(STRINGS):
            text = STRINGS[number - 1].encode("utf-16-le") if number else b"\x09\x04"
            return bytes([2 + len(text), 3]) + text
        return None

    def _negotiate(self, request: int, commits: bool, data: bytes) -> bytes:
        """Probe and commit: what the driver wants, and what it gets."""
        if request == SET_CUR:
            self._wish = self._settled(data)
            if commits:
                self._streams, self._due = True, time.monotonic()
            return b""
        if request == GET_INFO:
            return b"\x03"
        return struct.pack("<H", len(self._wish)) if request == GET_LEN else self._wish

    def _settled(self, wish: bytes) -> bytes:
        hint, form, _frame_index, step = struct.unpack_from("<HBBI", wish)
        self._form = min(max(form, 1), 2)
        best = min(self._rates, key=lambda rate: abs(10_000_000 // rate - step))
        self._step_s = 1.0 / best
        return struct.pack(
            "<HBBIHHHHHII", hint, self._form, 1, 10_000_000 // best, 0, 0, 0, 0, 0,
            self._formats[self._form - 1].most, PAYLOAD_BYTES,
        )  # fmt: skip

    def _pictures(self) -> None:
        now = time.monotonic()
        if self._streams and now >= self._due:
            self._due = max(self._due + self._step_s, now)
            if not self.silent and not self._chunks:
                self._cut()
        while self._chunks and self._waiting:
            number, length = self._waiting.popleft()
            chunk = self._chunks.popleft()
            assert len(chunk) <= length
            self._answer(number, chunk)

    def _cut(self) -> None:
        """The next picture as transfers: a header with the picture's parity, and whether it ends here."""
        pictures = self._formats[self._form - 1].bytes
        data, step = pictures[self._sent % len(pictures)], PAYLOAD_BYTES - 2
        for at in range(0, len(data), step):
            ends = at + step >= len(data)
            self._chunks.append(bytes([2, 0x80 | self._sent % 2 | 2 * ends]) + data[at : at + step])
        self._sent += 1

    def _answer(self, number: int, data: bytes, status: int = 0, sent: int | None = None) -> None:
        head = (SUBMITTED, number, 0, 0, 0, status, len(data) if sent is None else sent, 0, 0, 0)
        self._peer.sendall(struct.pack(">5I5i8x", *head) + data)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._peer.recv(length - len(data))
            if not part:
                return b""
            data += part
        return data


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    ours, kernels = socket.socketpair()
    camera = UsbCamera(from_folder(args.folder), RATES, ours)

    def toggle(_number: int, _frame: object) -> None:
        camera.silent = not camera.silent

    signal.signal(signal.SIGUSR1, toggle)
    (HUB / "attach").write_text(f"0 {kernels.fileno()} {DEVICE_ID} {HIGH_SPEED}")
    kernels.close()
    camera.serve()


if __name__ == "__main__":
    main()
