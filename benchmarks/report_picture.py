"""The picture of a report for the README.

    python benchmarks/report_picture.py report.png                    (of `facesieve models pull sample-clip`)
    python benchmarks/report_picture.py report.png --public-domain    (of photographs that may be published)
    python benchmarks/report_picture.py report.png lobby.mp4 yard.mp4

Runs `facesieve run` with its defaults, opens the page (the one over all sources, where there are several) in
Debian's chromium and takes a picture of its head and its first people.

--public-domain makes two short films of two portraits by a camera that pans, zooms and loses focus and light:
Eileen Collins (NASA; in scikit-image's wheel, which says "No known copyright restrictions, released into the
public domain") and Grace Hopper (US Navy; in matplotlib's wheel, which took it in as a public domain image).
Needs `pip install playwright matplotlib` and fetches scikit-image's wheel with pip.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from chromium import chromium

U8 = npt.NDArray[np.uint8]
WIDE, HIGH, FPS = 640, 480, 25
SEEN = """() => Promise.all(
  Array.from(document.images)
    .filter((image) => image.getBoundingClientRect().top < innerHeight)
    .map((image) => image.decode())
)"""


def portraits(folder: Path) -> tuple[U8, U8]:
    """Collins and Hopper, (h, w, 3) BGR."""
    from matplotlib import cbook

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), "scikit-image==0.26.0"], check=True)
    (wheel,) = folder.glob("scikit_image*.whl")
    with zipfile.ZipFile(wheel) as archive:
        collins = cv2.imdecode(np.frombuffer(archive.read("skimage/data/astronaut.png"), np.uint8), 1)
    hopper = cv2.imread(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return collins, hopper


def filmed(photograph: U8, face: tuple[float, float], frames: int, seed: int) -> Iterator[U8]:
    """The photograph through a hand-held camera, (HIGH, WIDE, 3) BGR. face: its middle, px."""
    rng = np.random.default_rng(seed)
    around = cv2.copyMakeBorder(photograph, 300, 300, 300, 300, cv2.BORDER_REPLICATE)
    wander = np.cumsum(rng.normal(0, 0.8, (frames, 2)), axis=0)
    for i, drift in enumerate(wander - np.linspace(0, 1, frames)[:, None] * wander[-1]):
        turn = i / frames * 2 * np.pi
        zoom = 0.95 + 0.3 * np.sin(turn - 0.8)
        x, y = face[0] + 300 + 60 * np.sin(turn) + drift[0], face[1] + 330 + 20 * np.cos(turn) + drift[1]
        move = cv2.getRotationMatrix2D((float(x), float(y)), 6 * np.sin(2 * turn), float(zoom))
        move[:, 2] += (WIDE / 2 - x, HIGH / 2 - y)
        seen = cv2.warpAffine(around, move, (WIDE, HIGH), flags=cv2.INTER_AREA)
        blur = max(0.0, 4 * np.sin(1.5 * turn + 2.2))
        seen = cv2.GaussianBlur(seen, (0, 0), blur) if blur > 0.3 else seen
        light = 1 - 0.45 * max(0.0, np.sin(turn + 3.6))
        yield np.clip(seen * light + rng.normal(0, 2.5, seen.shape), 0, 255).astype(np.uint8)


def film(path: Path, parts: list[Iterator[U8]]) -> Path:
    """H.264 of all parts; a second of grey between them."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        pause = [np.full((HIGH, WIDE, 3), 118, np.uint8)] * FPS
        for part in parts:
            for image in (*part, *pause):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        out.mux(stream.encode())
    return path


def public_domain(folder: Path) -> list[Path]:
    """Two films: Collins twice with Hopper between, and Hopper."""
    collins, hopper = portraits(folder)
    at_collins, at_hopper = (224.0, 120.0), (255.0, 190.0)
    door = [filmed(collins, at_collins, 100, 1), filmed(hopper, at_hopper, 90, 2)]
    door.append(filmed(collins[:, ::-1], (512 - at_collins[0], at_collins[1]), 70, 3))
    return [
        film(folder / "front-door.mp4", door),
        film(folder / "hall.mp4", [filmed(hopper, at_hopper, 110, 4)]),
    ]


def photograph(page: Path, picture: Path, width: int, height: int, *, dark: bool) -> None:
    """A screenshot of the page's first height px."""
    with chromium() as browser:
        scheme = "dark" if dark else "light"
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab.goto(page.as_uri())
        tab.evaluate(SEEN)
        tab.screenshot(path=picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--public-domain", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1780)
    parser.add_argument("--dark", action="store_true")
    arguments = parser.parse_args()
    facesieve = [sys.executable, "-m", "facesieve"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        videos = [path.resolve() for path in arguments.videos]
        if arguments.public_domain:
            videos = public_domain(folder)
        elif not videos:
            command = [*facesieve, "models", "pull", "sample-clip", "--print-path"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            videos = [Path(told.splitlines()[-1])]
        out = folder / "results"
        subprocess.run([*facesieve, "run", *map(str, videos), "--out", str(out), "--quiet"], check=True)
        page = out / "report.html"
        photograph(page, arguments.picture, arguments.width, arguments.height, dark=arguments.dark)
    print(arguments.picture)


if __name__ == "__main__":
    main()
