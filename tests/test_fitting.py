"""``crossover fit FILE``: a table and sentences, or the document; bad input is one sentence and code 2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import fitting
from pipeline.cli import main


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "runs.csv"
    lines = ["flops,loss,family,state"]
    for family, (floor, slope) in {"vit": (1.0, 0.3), "cnn": (2.0, 0.45)}.items():
        for i, c in enumerate(np.geomspace(1e18, 1e22, 9)):
            loss = (floor + (3.0 - floor) * (c / 1e20) ** -slope) * np.exp(0.005 * random.standard_normal())
            lines.append(f"{c},{loss * (2 if family == 'cnn' and i == 4 else 1)},{family},done")
    path.write_text("\n".join(lines) + "\n")
    return path


def words(runs: Path, *more: str) -> list[str]:
    return ["fit", str(runs), "--x", "flops", "--y", "loss", "--group", "family", "--draws", "100", *more]


def test_a_table_and_sentences(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(runs, "--form", "power_floor", "--predict", "1e23")) == 0
    said = capsys.readouterr().out
    assert "loss against flops: 18 rows of" in said and "95 % intervals" in said
    assert any(line.startswith("vit ") and "alpha 0." in line and "converged" in line for line in said.splitlines())
    assert "vit: at 1.00e+23:" in said and "10 times beyond the range fitted" in said
    assert "vit passes cnn at" in said
    assert "cnn: diverged and weighted down: row 14 (+0.7" in said


def test_the_document_on_paper_and_on_the_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs.parent / "found.json"
    assert main(words(runs, "--form", "power_floor", "--json", "--out", str(out))) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert [law["group"] for law in printed["groups"]] == ["cnn", "vit"] and printed["crossings"]


def test_from_standard_input_and_without_form(runs: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "fit", "-", "--x", "flops", "--y", "loss", "--where", "family=vit"]
    made = subprocess.run(
        [*command, "--draws", "20", "--json"], input=runs.read_bytes(), capture_output=True, check=False
    )
    assert made.returncode == 0 and not made.stderr, made.stderr
    (law,) = json.loads(made.stdout)["groups"]
    assert law["form"] == "ensemble" and sum(form["weight"] for form in law["forms"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--form", "powr"], "did you mean 'power'?"),
        (["--share", "E"], "name one form with --form"),
        (["--share", "alpah", "--form", "power_floor"], "did you mean 'alpha'?"),
        (["--group", "familly"], "did you mean 'family'?"),
        (["--where", "family"], "--where takes COLUMN=VALUE"),
        (["--predict", "1e20;2"], "--predict takes numbers"),
        (["--delta", "small"], "invalid float value"),
        (["--nonsense"], "crossover fit --help"),
        (["--out", "/no/such/folder/a.json"], "lies in no folder"),
        (["--outcome", "family"], "18 runs of 18 not finished: vit row 1 (vit)"),
        (["--form", "bnsl2"], "needs 11 distinct places"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    runs: Path, more: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(runs, *more)) == 2
    made = capsys.readouterr()
    assert not made.out and part in made.err and len(made.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("given_words", "table"),
    [
        (["runs.csv"], True),
        (["-", "--json"], True),
        (["--help"], True),
        (["--x=C", "f"], True),
        (["tests"], True),
        (["study=cifar10"], False),
        ([], False),
        (["--json", "study=runs.csv"], False),
        (["placement.store=a.csv"], False),
        (["nothing"], False),
    ],
)
def test_a_table_is_told_from_a_study(given_words: list[str], table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert fitting.is_of_table(given_words) is table


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        "try: main(['fit', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'scipy', 'pandas', 'torch', 'hydra') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip().splitlines()[-1] == "[]"


def test_a_fit_of_a_csv_loads_no_pandas_torch_or_hydra(runs: Path) -> None:
    code = (
        f"import sys\nfrom pipeline.cli import main\nmain({words(runs, '--form', 'power')!r})\n"
        "print([m for m in ('pandas', 'pyarrow', 'torch', 'hydra', 'ray', 'rich') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip().splitlines()[-1] == "[]"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_any_bytes_and_names_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, x: str, y: str, where: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert main(["fit", str(tmp_path / "t.csv"), f"--x={x}", f"--y={y}", f"--where={where}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
