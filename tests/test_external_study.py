"""Studies of modules made elsewhere: shared, stopped, killed and transferred like the paper's families."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import foreign
import pytest
from small import ARCHS, job_of, plan_of, run_all

from pipeline.arch import External, Module, Timm
from pipeline.job import Home
from pipeline.ledger import Ledger
from pipeline.plan import Work
from pipeline.record import state_key
from pipeline.store import Store
from pipeline.study import Study
from pipeline.task import Task
from pipeline.training.runlog import Silent
from pipeline.training.segment import run_segment

ROOT = Path(__file__).resolve().parent.parent
NORMED = Module(target="foreign.Normed")


@pytest.fixture
def homes(fractal: Home, digits: Home) -> dict[str, Home]:
    return {"fractal": fractal, "digits": digits}


def finals(store: Store, plan: Any) -> dict[str, bytes | None]:
    return {k: store.get(state_key(k)) for k, s in plan.segments.items() if s.work is Work.decay}


@pytest.mark.parametrize("arch", [NORMED, Timm(name="test_vit", arguments={"drop_path_rate": 0.2})])
def test_sharing_and_stopping_change_nothing(
    tmp_path: Path, homes: dict[str, Home], arch: External, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch statistics and random layers: alone, shared, and stopped in the middle, the same weights bit for bit."""
    if isinstance(arch, Timm):
        pytest.importorskip("timm")
    monkeypatch.setitem(ARCHS, "foreign", arch)
    alone, shared = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    single = plan_of(Study(data="fractal", budgets=[960]), homes, ["foreign"])
    run_all(single, homes, alone)
    plan = plan_of(Study(data="fractal", budgets=[320, 960]), homes, ["foreign"])
    for key in plan.order:
        job = replace(job_of(plan.segments[key], homes, shared, heartbeat_seconds=0.01), stop_key="stop/x")
        run = Silent()

        def stop_soon(row: dict[str, float]) -> None:
            shared.put("stop/x", b"")
            time.sleep(0.05)

        run.log = stop_soon  # type: ignore[method-assign]
        stopped = run_segment(job, lambda _, run=run: run).outcome
        shared.delete("stop/x")
        assert stopped in ("interrupted", "done")
        assert run_segment(job).outcome == "done"
    for key, state in finals(alone, single).items():
        assert state is not None
        assert shared.get(state_key(key)) == state


@pytest.mark.parametrize("arch", [NORMED, Timm(name="test_resnet")])
def test_a_study_with_transfers(
    tmp_path: Path, homes: dict[str, Home], arch: External, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(arch, Timm):
        pytest.importorskip("timm")
    monkeypatch.setitem(ARCHS, "foreign", arch)
    store = Store(str(tmp_path))
    study = Study(data="fractal", budgets=[160])
    study.tasks = {"d": Task(data="digits", shots=[3], finetune_steps=4)}
    plan = plan_of(study, homes, ["foreign"])
    run_all(plan, homes, store)
    results = Ledger(store).results()
    assert {r.digest for r in results} == set(plan.trials)
    data = homes["fractal"].dataset
    for result in results:
        assert result.outcome.value == "done"
        assert result.facts["family"] == arch.family
        assert result.facts["forward_flops"] == arch.flops(data.image_size, data.channels, data.classes)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import pickle
from small import run_all
from pipeline.store import Store
plan, homes = pickle.load(open({pickled!r}, "rb"))
run_all(plan, homes, Store({store!r}), checkpoint_seconds=0.0)
"""


@pytest.mark.slow
def test_sigkill_changes_nothing_for_batch_norm(
    tmp_path: Path, homes: dict[str, Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle
    import random

    monkeypatch.setitem(ARCHS, "foreign", Module(target="foreign.Normed", arguments={"width": 32}))
    study = Study(data="fractal", budgets=[1600, 6400])
    study.tasks = {"d": Task(data="digits", shots=[3], finetune_steps=30)}
    plan = plan_of(study, homes, ["foreign"])
    undisturbed, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    run_all(plan, homes, undisturbed)
    (tmp_path / "plan").write_bytes(pickle.dumps((plan, homes)))
    code = KILLED.format(tests=str(ROOT / "tests"), pickled=str(tmp_path / "plan"), store=store.url)
    dice, kills = random.Random(0), 0
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=ROOT)
        try:
            _, errors = process.communicate(timeout=dice.uniform(2.5, 5.0))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, errors.decode()
        break
    assert kills
    assert finals(store, plan) == finals(undisturbed, plan)
    told = [{r.digest: r.science() for r in Ledger(s).results()} for s in (store, undisturbed)]
    assert told[0] == told[1]


@pytest.mark.slow
def test_rays_workers_find_the_users_module(tmp_path: Path) -> None:
    """From the current directory, which is on nobody's path."""
    (tmp_path / "nets_of_mine.py").write_text(Path(foreign.__file__).read_text())
    words = ["arch=module,vit_pico", "arch.target=nets_of_mine.Normed", "data=fractal,digits", "study.data=fractal"]
    words += ["data.fractal.classes=4", "data.fractal.per_class=40", "study.budgets=[640,1280]", "track=off"]
    words += ["+study.tasks.d={data:digits,shots:[3],finetune_steps:3}", "placement.cpus=2"]
    command = [sys.executable, "-c", "import sys; from pipeline.cli import main; sys.exit(main())", "run", *words]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean)
    assert told.returncode == 0, told.stderr
    assert "12 trials done, 0 diverged, 0 failed" in told.stdout
    assert "normed" in (tmp_path / "runs" / "studies" / "custom" / "report.html").read_text()
