"""Who may import whom: the layers of the library, and the weight of its import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GROUND = {"types", "ports", "errors", "geometry"}
LIBRARY = ("stream", "engines", "trackers", "fiqa")
SOURCES = sorted(path for package in LIBRARY for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[tuple[str, ...]]:
    """Absolute dotted names that a module imports, relative ones resolved below `facesieve`."""
    here = ("facesieve", *path.relative_to(ROOT).with_suffix("").parts)
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            found |= {(*module, alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_keeps_to_its_layer(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        assert name[0] not in LIBRARY, f"{path}: imports {'.'.join(name)} past the namespace"
        if name[0] != "facesieve":
            continue
        inside = name[1] if len(name) > 1 else ""
        assert inside in LIBRARY, f"{path}: a library module imports facesieve.{inside}"
        if package == "stream" and path.stem in GROUND and path.parent.name == "stream":
            assert name[1:3] in {("stream", module) for module in GROUND}, f"{path}: imports {name}"
        if package in ("engines", "trackers"):
            ground = inside == "stream" and len(name) > 2 and name[2] in GROUND
            assert inside == package or ground, f"{path}: {package} imports {'.'.join(name)}"
        if package == "stream":
            assert inside == "stream", f"{path}: stream imports {'.'.join(name)}"


def test_importing_facesieve_brings_no_offline_package() -> None:
    code = "import sys, facesieve, facesieve.build; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    heavy = {"torch", "onnx", "scipy", "matplotlib", "mediapipe", "facesieve.fiqa"} & set(loaded)
    assert not heavy
