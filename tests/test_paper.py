"""What is said of the paper: Table 6 as it is priced, and docs/paper.md as it is computed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.paper import TABLE_6, ladders, parameters, priced, table_6

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "paper.md").read_text()
OUTLIERS = {("vit_b32", 7), ("hybrid_r50_l16", 7)}
PLAN = """
import sys
from pipeline.cli import main
code = main(["plan", "study=paper_table6", *sys.argv[1:]])
print([m for m in ("torch", "torchvision", "lightning") if m in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def planned(folder: Path, *words: str) -> str:
    """What the command prints, in an empty folder; it loads no torch and leaves nothing behind."""
    environment = {"COLUMNS": "80", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    made = subprocess.run(
        [sys.executable, "-c", PLAN, *words], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert (made.returncode, made.stderr.strip()) == (0, "[]"), made.stderr
    assert not list(folder.iterdir())
    return made.stdout


def test_the_rows_of_table_6_without_torch_or_data(tmp_path: Path) -> None:
    rows = json.loads(planned(tmp_path, "--json"))["pretraining"]
    assert [(row["arch"], round(row["epochs"])) for row in rows] == list(TABLE_6)
    within = {
        (row["arch"], round(row["epochs"]))
        for row in rows
        if row["flops_inside"] / 1e18 == pytest.approx(TABLE_6[row["arch"], round(row["epochs"])][1], rel=0.01)
    }
    assert set(TABLE_6) - within == OUTLIERS
    for row in rows:
        assert row["samples"] == 303_000_000
        assert row["flops"] / 1e18 == pytest.approx(TABLE_6[row["arch"], round(row["epochs"])][1], rel=0.045)


def test_the_terminal_shows_the_same_rows_in_80_columns(tmp_path: Path) -> None:
    shown = planned(tmp_path)
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "…" not in shown
    lines = [re.sub(r",(\d{3})", r"\1", line).split() for line in shown.splitlines()]
    for row in priced():
        cells = [row.arch, "303", "M", f"{row.epochs:.0f}", f"{row.flops / 1e18:.1f}", f"{row.flops_inside or 0:.1f}"]
        cells[-1] = f"{(row.flops_inside or 0) / 1e18:.1f}"
        assert any(line[:6] == cells for line in lines), cells


@pytest.mark.parametrize("table", [table_6, parameters, ladders])
def test_the_document_holds_what_is_computed(table) -> None:
    assert table() in DOCUMENT, f"run python -m benchmarks.paper and put its {table.__name__} into docs/paper.md"


def test_the_document_names_the_outliers() -> None:
    for name, epochs in OUTLIERS:
        assert f"**{TABLE_6[name, epochs][0]}" in DOCUMENT
