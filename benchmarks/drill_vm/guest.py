"""Inside the small machine: the drills, one after the other; each row is written to /out as it is known."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent / "tests" / "support")]

import network  # noqa: E402
import usb  # noqa: E402
import vivid  # noqa: E402

MODULES = ("vhci-hcd", "uvcvideo", "sch_netem", "veth")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("busybox")
    parser.add_argument("--only")
    args = parser.parse_args()
    for module in MODULES:
        subprocess.run([args.busybox, "modprobe", module], check=True)
    todo: dict[str, Callable[[], str | list[dict[str, Any]]]] = {
        "USB: formats": usb.formats,
        "USB: pulled out": usb.pulled,
        "USB: silent": usb.silent,
        "USB: silent from the start": usb.silent_from_the_start,
        "USB: busy": usb.busy,
        "USB: absent": usb.absent,
        "USB: mistakes": usb.mistakes,
        "V4L2: pixel formats": partial(vivid.formats, args.busybox),
        "V4L2: faults of a driver": partial(vivid.faults, args.busybox),
        "RTSP over TCP": partial(network.conditions, "tcp"),
        "RTSP over UDP": partial(network.conditions, "udp"),
        "RTSP over TCP: nothing comes through": partial(network.blackout, "tcp"),
        "RTSP over UDP: nothing comes through": partial(network.blackout, "udp"),
    }
    rows: list[dict[str, Any]] = []
    for name, drill in todo.items():
        if args.only is not None and not re.search(args.only, name):
            continue
        began = time.monotonic()
        try:
            told = drill()
            new = [{"drill": name, "result": told, "ok": True}] if isinstance(told, str) else told
        except Exception as error:  # noqa: BLE001  one drill that fails is a row, and the others go on
            traceback.print_exc()
            new = [{"drill": name, "result": f"FAILED: {type(error).__name__}: {error}", "ok": False}]
        rows += new
        print(f"{time.monotonic() - began:.0f} s", json.dumps(new, ensure_ascii=False), flush=True)
        Path("/out/rows.json").write_text(json.dumps(rows, ensure_ascii=False))


if __name__ == "__main__":
    main()
