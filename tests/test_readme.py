"""What the documents say is there: files, make targets, verbs and presets."""

import re
from pathlib import Path

import pytest

from pipeline.cli import VERBS
from pipeline.config import load

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_named_files_exist(document: Path) -> None:
    for name in re.findall(r"`((?:tests|pipeline|conf|data_prep|docs|benchmarks)/[\w/.]+)`", document.read_text()):
        assert (ROOT / name).exists(), f"{document.name} names {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_commands_parse(document: Path) -> None:
    """Every crossover line of a document has a verb and overrides that compose, but for files it names."""
    for line in re.findall(r"^crossover (.+?)(?:\s+#.*)?$", document.read_text(), re.MULTILINE):
        verb, *words = line.split()
        assert verb in VERBS, line
        if "--conf" not in line:
            load([w for w in words if "=" in w and not w.startswith("-")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_presets_begin_with_their_package(document: Path) -> None:
    """Hydra reads that line before any other comment, or not at all."""
    for block in re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL):
        assert "@package" not in block or block.startswith("# @package "), block


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"^make ([\w-]+)", document.read_text(), re.MULTILINE):
            assert target in targets, f"{document.name} says make {target}"


def test_the_first_screen_has_the_sentence_the_picture_and_the_two_commands() -> None:
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:16])
    for part in ("how sure are we?", "docs/quickstart.png", "make quickstart", "make test"):
        assert part in first
