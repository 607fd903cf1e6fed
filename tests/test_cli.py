"""The real command line: exit codes, one sentence each, nothing on a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main

SMALL = ["arch=vit_pico", "data=fractal", "recipe=tiny32", "study.data=fractal", "track=off", "study.budgets=[64,128]"]
SMALL += ["data.fractal.classes=4", "data.fractal.per_class=20"]


def crossover(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    made = subprocess.run(
        [sys.executable, "-m", "pipeline", *words], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )
    assert made.returncode == code, made.stdout + made.stderr
    assert "Traceback" not in made.stderr
    return made


def sentence(made: subprocess.CompletedProcess[str]) -> str:
    (line,) = made.stderr.strip().splitlines()
    return line


def test_help_names_every_verb(tmp_path: Path) -> None:
    text = crossover("--help", cwd=tmp_path).stdout
    for verb in ("prepare", "plan", "run", "train", "status", "why", "logs", "fit", "report", "export"):
        assert f"\n  {verb}" in text


def test_plan_prices_the_quickstart_before_anything_exists(tmp_path: Path) -> None:
    plain = json.loads(crossover("plan", "study=quickstart", "--json", cwd=tmp_path).stdout)
    families = {line["family"]: line for line in plain["families"]}
    assert set(families) == {"vit", "hybrid", "resnet"}
    for line in families.values():
        assert line["known"] == 0
        assert 0 < line["flops"] < line["flops_unshared"]
    assert plain["total"]["trials"] == len(plain["trials"])
    assert not list(tmp_path.iterdir()), "a plan launches and writes nothing"


def test_plan_lists_pre_trainings_where_they_are_few_or_asked_for(tmp_path: Path) -> None:
    assert "30 different pre-trainings: --rows" in crossover("plan", "study=quickstart", cwd=tmp_path).stdout
    listed = crossover("plan", "study=quickstart", "--rows", cwd=tmp_path).stdout
    assert len([line for line in listed.splitlines() if line.startswith(("vit_", "hybrid_", "resnet_"))]) == 30
    assert "vit_pico" in crossover("plan", *SMALL, cwd=tmp_path).stdout


def test_next_before_anything_ran_prints_power_a_first_batch_and_the_command(tmp_path: Path) -> None:
    told = crossover("next", "study=quickstart", "budget=3e12", cwd=tmp_path).stdout
    assert "if they cross at" in told and "Next trials of quickstart, in compute" in told
    assert "crossover run study=quickstart" in told and "'+study.sweeps.next0={archs:[" in told
    assert not list(tmp_path.iterdir()), "it launches and writes nothing"


@pytest.mark.parametrize(("cap", "value"), [("max_flops", 1e6), ("max_hours", 1e-9)])
def test_over_a_cap_nothing_is_launched(tmp_path: Path, cap: str, value: float) -> None:
    for verb in ("plan", "run"):
        told = sentence(crossover(verb, *SMALL, f"study.{cap}={value}", cwd=tmp_path, code=3))
        assert f"study.{cap}" in told
    assert not (tmp_path / "runs" / "states").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["rnu"], "did you mean 'run'"),
        (["plan", "study=quikstart"], "quickstart"),
        (["plan", "study=quickstart", "recipe.lrr=1"], "recipe.lr"),
        (["plan", *SMALL, "arch.patch=5"], "does not divide"),
        (["plan", *SMALL, "study.sizes=[1000000]"], "1,000,000"),
        (["run", "study=cifar10"], "data.NAME.path"),
        (["run", "study=paper_table6"], "JFT-300M is private, so put a data set of yours in place of data=jft300m"),
        (["prepare", "data=jft300m"], "JFT-300M is private"),
        (["run", "study=cifar10", "data.cifar10.path=/does/not/exist"], "does not exist"),
        (["plan", *SMALL, "placement.store=nonsense://x"], "cannot be opened"),
        (["report", "study=quickstart"], "no study 'quickstart'"),
        (["next", "study=quickstart"], "Say how many FLOPs"),
        (["next", "study=quickstart", "budget=3x"], "budget=3x is no number of FLOPs"),
        (["next", "study=quickstart", "budget=-3e15"], "must be a positive number of FLOPs"),
        (["next", *SMALL, "budget=1e12"], "the study has vit only"),
        (["run", "study=adaptive", "study.adaptive.width=-1"], "study.adaptive.width must be"),
        (["why"], "which trial"),
        (["why", "abc"], "No trial"),
        (["plan", "--conf", "/does/not/exist"], "is not a folder"),
        (["plan", "--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path: Path, words: list[str], part: str) -> None:
    assert part in sentence(crossover(*words, cwd=tmp_path, code=2))


@pytest.mark.parametrize("verb", ["plan", "run", "train"])
def test_a_batch_that_cannot_be_cut_evenly_is_refused_before_anything_is_made(tmp_path: Path, verb: str) -> None:
    told = sentence(crossover(verb, *SMALL, "recipe.batch_size=64", "placement.micro_batch=48", cwd=tmp_path, code=2))
    assert told == (
        "placement.micro_batch=48 does not divide the 64 images that recipe.batch_size=64 gives each worker: "
        "take 32, or 0 for all at once."
    )
    task = ["data=fractal,digits", "study.tasks.d.data=digits", "study.tasks.d.finetune_steps=2"]
    words = [*SMALL, *(f"+{w}" if w.startswith("study") else w for w in task), "placement.workers_per_trial=4"]
    told = sentence(crossover(verb, *words, "+study.tasks.d.finetune_batch_size=6", cwd=tmp_path, code=2))
    assert "study.tasks.d.finetune_batch_size=6 cannot be shared evenly by placement.workers_per_trial=4" in told
    assert "take 3 for the workers" in told
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for address in ("127.0.0.1:1", "nobody.invalid:6379", "ray://127.0.0.1:1", "127.0.0.1:99999999"):
        told = sentence(crossover("run", *SMALL, f"placement.address={address}", cwd=tmp_path, code=2))
        assert "No Ray cluster answers" in told


def test_a_truncated_archive_is_one_sentence(tmp_path: Path, shared_data: Path) -> None:
    whole = (shared_data / "cifar10-jpeg.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[:100_000])
    told = sentence(crossover("run", "study=cifar10", "data.cifar10.path=cut.tar.gz", cwd=tmp_path, code=2))
    assert "cut.tar.gz" in told


def test_train_fit_report_export_why_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One small study by a command of its own, then every verb that reads what it left."""

    def told(*words: str, code: int = 0) -> str:
        assert main(list(words)) == code
        said = capsys.readouterr()
        if not code:
            return said.out
        (line,) = said.err.strip().splitlines()
        return line

    crossover("train", *SMALL, "placement.workers_per_trial=2", "placement.micro_batch=32", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    ledger = [json.loads(path.read_text()) for path in Path("runs/ledger").glob("*.json")]
    assert [result["cost"]["workers"] for result in ledger] == [1, 1], "one process is one worker"
    again = told("train", *SMALL)
    assert "0 %" in again or "0%" in again
    assert json.loads(told("status", "--json"))["studies"]["custom"] == {
        "done": 2,
        "diverged": 0,
        "failed": 0,
        "left": 0,
    }
    assert json.loads(told("fit", "--json"))["metric"] == "val_error"
    assert told("report")
    assert "<html" in Path("runs/studies/custom/report.html").read_text()
    told("export", "--out", "tables")
    import duckdb
    import pandas as pd

    frame = pd.read_parquet("tables/trials.parquet")
    assert len(frame) == len(pd.read_csv("tables/trials.csv")) == 2
    counted = duckdb.connect().execute(f"select count(*) from '{tmp_path}/tables/trials.parquet'").fetchall()
    assert counted == [(2,)]
    assert "2 done" in told("status", "study=custom")
    told("train", *SMALL, "study.name=other")
    assert "one of custom, other" in told("fit", code=2)
    assert "Only ViT" in told("fit", "study=other")
    assert "did you mean 'other'" in told("fit", "study=othr", code=2)
    why = told("why", str(frame["digest"][0])[:12], "--json")
    assert list(json.loads(why)["difference"]) == ["budget"]


def test_a_trial_of_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    ledger = tmp_path / "runs" / "ledger"
    ledger.mkdir(parents=True)
    (ledger / f"{'a' * 64}.json").write_text(json.dumps({"format": 99}))
    assert "newer Crossover" in sentence(crossover("plan", *SMALL, cwd=tmp_path, code=2))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    told = sentence(crossover("train", *SMALL, "placement.store=locked/runs", cwd=tmp_path, code=2))
    assert "cannot be written" in told
