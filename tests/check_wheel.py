"""Does a wheel hold every module and data file of the checkout? `python tests/check_wheel.py WHEEL`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("stream", "engines", "trackers", "fiqa")
SUFFIXES = {
    ".py",
    ".toml",
    ".onnx",
    ".json",
    ".html",
    ".css",
    ".js",
    ".typed",
}  # not .npz: labels repeat a training


def expected() -> set[str]:
    """Every source and data file, as its path inside the wheel."""
    files = {f"facesieve/{path.name}" for path in (ROOT / "facesieve").iterdir() if path.is_file()}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                files.add(f"facesieve/{path.relative_to(ROOT).as_posix()}")
    return files


def main() -> int:
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        missing = sorted(expected() - set(wheel.namelist()))
    for name in missing:
        print(f"missing in the wheel: {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
