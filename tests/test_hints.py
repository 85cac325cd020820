"""What facesieve and its pages tell people to type."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("facesieve", "stream", "engines", "trackers", "fiqa", "benchmarks", "configs", "deploy", "docs")
INSTALL = re.compile(r"install (\S*)facesieve\[([^\]{]+)\](.)")
PAGES = sorted(
    {
        path.resolve()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".md", ".toml"} and ".envs" not in path.parts
    }
    | set(ROOT.glob("*.md"))
)
HINTING = [path for path in PAGES if INSTALL.search(path.read_text())]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()


@pytest.mark.parametrize("path", HINTING, ids=lambda path: str(path.relative_to(ROOT)))
def test_extras_that_are_to_be_installed_exist_and_their_brackets_are_quoted(path: Path) -> None:
    """zsh takes bare brackets for a pattern, and says that nothing matches."""
    for before, extras, behind in INSTALL.findall(path.read_text()):
        assert (before, behind) == ("'", "'"), f"facesieve[{extras}]"
        assert set(extras.split(",")) <= EXTRAS


def test_such_hints_are_found() -> None:
    assert len(HINTING) > 20
