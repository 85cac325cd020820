"""What the machine's own kernel may lack: USB cameras and a bad network, in a small virtual machine.

    make drill-vm        (python benchmarks/vm_drill.py [--only REGEX] [--memory 3072])

Debian's kernel package is downloaded and unpacked, not installed; with it and a busybox QEMU starts a machine
whose files are this machine's own, read-only, under a layer in memory, and without a network: the same Python
runs the same code there. Its drills (drill_vm/): a USB camera made of software, by its own descriptors over
USB/IP, at the kernel's USB camera driver (uvcvideo); the kernel's V4L2 test driver (vivid); and `tc netem` on
the cable between an RTSP server and the reader. Needs Debian, qemu-system-x86, iproute2 and what `make drill`
needs. Where the processor's virtualisation is out of reach the machine is emulated: one core for twenty
minutes, so pictures are small and no detector runs. Writes benchmarks/results/drill_vm.{json,md}.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import cv2

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from live_servers import missing  # noqa: E402

OUT, RESULTS = HERE / "out" / "drill_vm", HERE / "results"
SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
FILM = SHARED / "videos" / "WolfgangLanger_Pexels.mp4"
FPS, PICTURES = 10, 80
BOOT_MODULES = ("virtio_pci", "9p", "9pnet_virtio", "overlay")
HANDED_ON = ("FACESIEVE_SHARED", "PYTHONPATH", "PATH", "HOME")


def kernel_package() -> str:
    """The package that Debian's newest kernel is in."""
    ask = ["apt-cache", "depends", "--important", "linux-image-amd64"]
    told = subprocess.run(ask, capture_output=True, text=True, check=True)
    names = [line.split()[-1] for line in told.stdout.splitlines() if "Depends: linux-image" in line]
    if not names:
        raise SystemExit("expected the package linux-image-amd64 to depend on a kernel, got none")
    return names[0]


def unpacked(package: str) -> Path:
    """A Debian package's files in a folder of their own, downloaded once."""
    folder = OUT / package
    if not folder.is_dir():
        debs = OUT / "debs" / package
        debs.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "--quiet", "download", package], cwd=debs, check=True)
        partial = folder.with_suffix(".partial")
        subprocess.run(["dpkg-deb", "-x", str(next(debs.glob("*.deb"))), str(partial)], check=True)
        shutil.rmtree(debs)
        partial.rename(folder)
    return folder


def initramfs(kernel: Path, busybox: Path, job: str) -> Path:
    """What the kernel starts with: busybox, the modules that reach the host's files, the job."""
    root = OUT / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "proc", "sys", "dev", "host", "layer", "new"):
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    shutil.copy(HERE / "drill_vm" / "init", root / "init")
    (root / "init").chmod(0o755)
    (root / "job").write_text(job)
    modules = next((kernel / "lib/modules").iterdir())
    if not (modules / "modules.dep").exists():
        subprocess.run([str(busybox), "depmod", "-b", str(kernel), modules.name], check=True)
    needs = dict(line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines())
    wanted = [path for path in needs if Path(path).stem in BOOT_MODULES]
    for path in {file for name in wanted for file in (name, *needs[name].split())} | {"modules.dep"}:
        target = root / "lib/modules" / modules.name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(modules / path, target)
    names = "\n".join(str(file.relative_to(root)) for file in root.rglob("*"))
    image = OUT / "initramfs.cpio"
    with image.open("wb") as out:
        pack = [str(busybox), "cpio", "-o", "-H", "newc"]
        subprocess.run(
            pack, input=names.encode(), stdout=out, stderr=subprocess.DEVNULL, cwd=root, check=True
        )
    return image


def has_kvm() -> bool:
    """Whether QEMU can use the processor's own virtualisation."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and bool(flags & {"vmx", "svm"})


def prepare_films() -> None:
    """What the cameras show: people walking, as pictures for the USB camera and as H.264 for RTSP."""
    film = OUT / "film"
    if not film.is_dir():
        partial = OUT / "film.partial"
        partial.mkdir(exist_ok=True)
        with av.open(str(FILM)) as source:
            step = round(source.streams.video[0].average_rate / FPS)
            for number, frame in enumerate(
                itertools.islice(source.decode(video=0), 0, PICTURES * step, step)
            ):
                picture = frame.reformat(640, 360, "bgr24").to_ndarray()
                quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
                cv2.imwrite(str(partial / f"{number:04d}.jpg"), picture, quality)
                plain = frame.reformat(320, 180, "yuyv422").to_ndarray()
                (partial / f"{number:04d}.yuyv").write_bytes(plain.tobytes())
        partial.rename(film)
    if not (OUT / "clip.ts").exists():
        encode = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", str(FILM), "-an", "-t", "10"]
        encode += ["-vf", "scale=320:180", "-r", str(FPS), "-c:v", "libx264", "-bf", "0", "-g", str(FPS)]
        subprocess.run([*encode, "-preset", "veryfast", str(OUT / "clip.ts")], check=True)


def boot(kernel: Path, image: Path, results: Path, memory_mb: int, limit_s: float) -> None:
    """Run the machine until it switches itself off."""
    fast = has_kvm()
    qemu = ["qemu-system-x86_64", "-machine", "q35", "-nographic", "-nodefaults", "-no-reboot"]
    qemu += ["-serial", "stdio", "-device", "virtio-rng-pci", "-smp", "1", "-m", str(memory_mb)]
    qemu += ["-cpu", "host" if fast else "max", "-accel", "kvm" if fast else "tcg"]
    qemu += ["-kernel", str(next(kernel.glob("boot/vmlinuz-*"))), "-initrd", str(image)]
    qemu += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]
    share = "local,path={},mount_tag={},security_model=none,multidevs=remap{}"
    qemu += ["-virtfs", share.format("/", "host", ",readonly=on")]
    qemu += ["-virtfs", share.format(results, "out", "")]
    subprocess.run(["nice", "-n", "15", *qemu], stdin=subprocess.DEVNULL, timeout=limit_s, check=True)


def record(rows: list[dict[str, Any]], kernel: str) -> None:
    """Write the results; drills that were not run now keep their rows."""
    path = RESULTS / "drill_vm.json"
    known = json.loads(path.read_text())["drills"] if path.is_file() else []
    new = {row["drill"]: row for row in rows}
    rows = [new.pop(row["drill"], row) for row in known] + list(new.values())
    told = {"kernel": kernel, "accelerator": "kvm" if has_kvm() else "none (emulated)", "drills": rows}
    lines = ["| drill | seen |", "|---|---|"]
    lines += [f"| {row['drill']} | {row['result']} |" for row in rows]
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="drills whose names match this regular expression")
    parser.add_argument("--memory", type=int, default=3072, help="of the machine, in MB")
    parser.add_argument("--limit", type=float, default=3000, help="seconds after which it is switched off")
    args = parser.parse_args()
    if shutil.which("qemu-system-x86_64") is None:
        raise SystemExit("the drill needs qemu-system-x86_64 (Debian package qemu-system-x86)")
    if lacking := missing():
        raise SystemExit(f"the drill needs {lacking}")
    OUT.mkdir(parents=True, exist_ok=True)
    prepare_films()
    package = kernel_package()
    kernel, busybox = unpacked(package), unpacked("busybox-static") / "bin" / "busybox"
    results = OUT / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    command = [sys.executable, "-u", str(HERE / "drill_vm" / "guest.py"), str(busybox)]
    command += ["--only", args.only] if args.only else []
    handed = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    job = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in handed.items())
    job += f"MODULES={shlex.quote(str(kernel / 'lib/modules'))}\n"
    job += f"run() {{ cd {shlex.quote(str(HERE.parent))} && {shlex.join(command)}; }}\n"
    try:
        boot(kernel, initramfs(kernel, busybox, job), results, args.memory, args.limit)
    finally:
        rows = results / "rows.json"
        if rows.is_file():
            record(json.loads(rows.read_text()), package)
    if not rows.is_file():
        raise SystemExit("the machine ended without a result")
    raise SystemExit(0 if all(row["ok"] for row in json.loads(rows.read_text())) else 1)


if __name__ == "__main__":
    main()
