"""``crossover fit FILE --isoflop``: the best model size and data of a compute, from any table, on the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.isoflop import Case
from pipeline.cli import main

LOPSIDED = Case("lopsided", (1.7, 2e3, 60.0, 0.5, 0.2), off=-0.3)
NEAR = Case("near", (1.69, 406.4, 410.7, 0.34, 0.28), overhead=0.5)


def written(path: Path, **cases: Case) -> Path:
    random = np.random.default_rng(3)
    lines = ["N,D,flops,loss,family"]
    for family, case in cases.items():
        columns = case.runs(random, 0.001)
        rows = zip(*(columns[name] for name in ("size", "samples", "flops", "loss")), strict=True)
        lines += [f"{','.join(f'{v:.6g}' for v in row)},{family}" for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return written(tmp_path / "grid.csv", vit=NEAR, cnn=LOPSIDED)


def words(path: Path, *more: str) -> list[str]:
    return ["fit", str(path), "--isoflop", "--x", "N,D", "--y", "loss", "--compute", "flops", "--draws", "100", *more]


def test_the_command_from_a_file_to_a_document(grid: Path) -> None:
    out = grid.parent / "found.json"
    command = [sys.executable, "-m", "pipeline", *words(grid, "--group", "family", "--predict", "1e22")]
    made = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert made.returncode == 0 and not made.stderr, made.stderr
    assert "loss against N, D: 70 rows of" in made.stdout and "FLOPs flops, 95 % intervals" in made.stdout
    assert "vit: By the isoFLOP profiles the best N grows as C^0.4" in made.stdout
    assert "vit: By the chinchilla surface the best N grows as C^0.4" in made.stdout
    assert "vit: The two routes agree (p = " in made.stdout
    assert "vit: at 1e+22 FLOPs by the isoFLOP profiles: N " in made.stdout
    assert "vit: Pareto: " in made.stdout and "10 times beyond the range" in made.stdout
    found = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert set(found) == {"data", "dropped", "format", "groups", "notes", "settings", "version"}
    assert found["data"]["columns"]["compute"] == "flops" and len(found["data"]["sha256"]) == 64
    for group, truth in (("cnn", 0.2 / 0.7), ("vit", NEAR.exponent())):
        split = next(g for g in found["groups"] if g["group"] == group)
        assert split["status"] == "both routes" and len(split["budgets"]) == 5
        for route in ("isoflop", "surface"):
            exponent = split[route]["exponents"]["size"]
            assert exponent["lo"] < exponent["value"] < exponent["hi"]
            assert exponent["value"] == pytest.approx(truth, rel=0.05)
        first, second = split["predictions"]
        assert (first["route"], second["route"]) == ("isoflop", "surface") and first["distance"] == pytest.approx(10)
        assert first["size"]["value"] == pytest.approx(second["size"]["value"], rel=0.2)


def test_json_on_standard_output_is_the_same_each_time(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(grid, "--where", "family=cnn", "--json")) == 0
    first = capsys.readouterr().out
    assert main(words(grid, "--where", "family=cnn", "--json")) == 0
    assert capsys.readouterr().out == first
    (split,) = json.loads(first)["groups"]
    assert split["pareto"]["hull"] and split["budgets"][0]["cubic"]["check"] == "bracketed"


def test_without_measured_flops_they_are_6_n_d_and_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "grid.csv", cnn=LOPSIDED)
    assert main([w for w in words(path) if w not in ("--compute", "flops")]) == 0
    said = capsys.readouterr().out
    assert "FLOPs 6 N D" in said and "wrong for small models and for convolutions" in said
    assert "best N grows as C^0.28" in said or "best N grows as C^0.29" in said


def test_a_group_that_is_refused_says_why_and_the_others_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = Case("edge", (1.7, 2e3, 60.0, 0.5, 0.2), off=2.0, budgets=3, sizes=4)
    path = written(tmp_path / "grid.csv", cnn=LOPSIDED, edge=edge)
    assert main(words(path, "--group", "family")) == 0
    said = capsys.readouterr().out
    assert "edge: Refused: isoFLOP profiles: a law of the best size needs 3 budgets" in said
    assert "the optimum lies on the edge, at the smallest model run" in said
    assert "cnn: The two routes agree" in said
    assert "edge: Only one route has an answer" in said


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--compute", "flop"], "did you mean 'flops'?"),
        (["--compute", "N"], "Column 'N' is named twice: --compute"),
        (["--budget", "nominal"], "has no column 'nominal' for --budget"),
        (["--x", "N,D,flops"], "--x N,D, or --x N and the training FLOPs in --compute"),
        (["--form", "power"], "no law of model size N and samples D"),
        (["--form", "chinchila"], "did you mean 'chinchilla'?"),
        (["--delta", "0.1"], "--isoflop takes no --delta"),
        (["--envelope"], "--isoflop takes no --envelope"),
        (["--predict", "-1"], "positive places"),
        (["--draws", "2"], "20 to 100,000 draws"),
        (["--where", "D=2.06907e+09"], "has one distinct place only"),
        (["--compute", "family"], "row 1, column 'family' is text"),
        (["--out", "/no/such/folder/a.json"], "lies in no folder"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    grid: Path, more: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "D=" in more[-1]:
        more = ["--where", f"D={grid.read_text().splitlines()[1].split(',')[1]}"]
    assert main(words(grid, *more)) == 2
    made = capsys.readouterr()
    assert not made.out and part in made.err and len(made.err.strip().splitlines()) == 1


def test_options_of_profiles_need_isoflop(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(grid), "--x", "flops", "--y", "loss", "--budget", "flops"]) == 2
    assert "--isoflop is needed for --budget" in capsys.readouterr().err


def test_nothing_is_written_where_nothing_can_be_told(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, short = grid.parent / "found.json", grid.parent / "short.csv"
    out.write_text("kept")
    short.write_text("\n".join([*grid.read_text().splitlines()[:4], "2e9,2e10,4e20,2.5,vit"]) + "\n")
    assert main(words(short, "--out", str(out))) == 2
    said = capsys.readouterr().err
    assert said.startswith("No best model size can be told: isoFLOP profiles: ") and "; surface: " in said
    assert len(said.strip().splitlines()) == 1 and out.read_text() == "kept"


CELL = st.sampled_from(["1e18", "2e18", "1e20", "3", "0.5", "0", "-1", "nan", "", "x", "1e40", "2.5"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL), max_size=14), st.booleans(), st.booleans())
def test_any_cells_are_a_document_or_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], drop: bool, measured: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["N,D,flops,loss", *(",".join(row) for row in rows)]) + "\n")
    more = ["--draws", "20", "--json", *(["--drop-bad"] if drop else [])]
    line = [w for w in words(path, *more) if measured or w not in ("--compute", "flops")]
    code, made = main(line), capsys.readouterr()
    if code == 0:
        json.loads(made.out, parse_constant=pytest.fail)
    else:
        assert code == 2 and not made.out and len(made.err.strip().splitlines()) == 1
