"""Sharing, killing and resuming never change a bit of the outcome on CPU."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import ARCHS, job_of, plan_of, recipe, run_all

from pipeline.errors import BadInput
from pipeline.job import Home
from pipeline.lease import Lease
from pipeline.ledger import Ledger, Outcome
from pipeline.placement import Precision
from pipeline.plan import Work
from pipeline.recipe import MomentumDtype, Optimizer, Schedule
from pipeline.record import chain, partial_key, read_record, state_key
from pipeline.store import Store
from pipeline.study import Study
from pipeline.task import Task
from pipeline.training.segment import run_segment
from pipeline.training.state import read_state

BUDGETS = [160, 320, 640]


@pytest.fixture
def homes(fractal: Home, digits: Home) -> dict[str, Home]:
    return {"fractal": fractal, "digits": digits}


def science(store: Store) -> dict[str, dict]:
    return {r.digest: r.science() for r in Ledger(store).results()}


def finals(store: Store, plan) -> dict[str, bytes | None]:
    return {k: store.get(state_key(k)) for k, s in plan.segments.items() if s.work is Work.decay}


@pytest.mark.parametrize("schedule", [Schedule.wsd, Schedule.rsqrt])
@pytest.mark.parametrize("arch", list(ARCHS))
def test_sharing_is_execution_never_identity(
    tmp_path: Path, homes: dict[str, Home], arch: str, schedule: Schedule
) -> None:
    """A trial run alone and the same trial through shared segments: the same weights, bit for bit."""
    shared = Store(str(tmp_path / "shared"))
    values: dict[str, Any] = {"schedule": schedule, "dropout": 0.1 if arch == "vit" else 0.0}
    plan = plan_of(Study(data="fractal", budgets=BUDGETS), homes, [arch], **values)
    assert plan.flops < plan.flops_unshared
    run_all(plan, homes, shared)
    for budget in BUDGETS:
        alone = Store(str(tmp_path / f"alone{budget}"))
        single = plan_of(Study(data="fractal", budgets=[budget]), homes, [arch], **values)
        run_all(single, homes, alone)
        for key, state in finals(alone, single).items():
            assert state is not None
            assert shared.get(state_key(key)) == state
        for digest, told in science(alone).items():
            assert science(shared)[digest] == told


@pytest.mark.parametrize("schedule", list(Schedule))
def test_a_study_with_transfers_runs_and_records_everything(
    tmp_path: Path, homes: dict[str, Home], schedule: Schedule
) -> None:
    store = Store(str(tmp_path))
    study = Study(data="fractal", budgets=[160, 320])
    study.tasks = {"d": Task(data="digits", shots=[3], finetune_steps=4)}
    plan = plan_of(study, homes, ["vit"], schedule=schedule)
    run_all(plan, homes, store)
    results = Ledger(store).results()
    assert {r.digest for r in results} == set(plan.trials)
    for r in results:
        errors = [v for k, v in r.metrics.items() if k.endswith("error")]
        assert len(errors) == 1
        assert 0 <= errors[0] <= 1
        assert r.cost["device_seconds"] > 0
    assert not plan_of(study, homes, ["vit"], store, schedule=schedule).segments
    assert store.keys("leases") == store.keys("progress") == []
    assert not [k for k in store.keys("states") if k.endswith(".partial")]


def test_a_known_segment_is_not_worked_again(tmp_path: Path, homes: dict[str, Home]) -> None:
    store = Store(str(tmp_path))
    plan = plan_of(Study(data="fractal", budgets=[160]), homes, ["vit"])
    run_all(plan, homes, store)
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "states").rglob("*.safetensors")}
    run_all(plan, homes, store)
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "states").rglob("*.safetensors")}


def test_a_segment_held_elsewhere_is_busy(tmp_path: Path, homes: dict[str, Home]) -> None:
    store = Store(str(tmp_path))
    plan = plan_of(Study(data="fractal", budgets=[160]), homes, ["vit"])
    segment = plan.segments[plan.order[0]]
    assert Lease(store, segment.key, 60).acquire()
    assert run_segment(job_of(segment, homes, store)).outcome == "busy"


RESUMED: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd bf16": {"optimizer": Optimizer.sgd, "momentum_dtype": MomentumDtype.bf16, "lr": 0.03},
    "adam bf16": {"momentum_dtype": MomentumDtype.bf16, "polyak": 0.9, "dropout": 0.1, "mixup": 0.2},
}


@pytest.mark.parametrize("values", list(RESUMED.values()), ids=list(RESUMED))
def test_a_stop_saves_and_the_rest_is_the_same(tmp_path: Path, homes: dict[str, Home], values: dict[str, Any]) -> None:
    """The driver asks to stop in the middle; afterwards the state is that of an undisturbed run."""
    study = Study(data="fractal", budgets=[1600])
    undisturbed, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    plan = plan_of(study, homes, ["vit"], **values)
    run_all(plan, homes, undisturbed)
    first = plan.segments[plan.order[0]]
    job = replace(job_of(first, homes, store, heartbeat_seconds=0.01), stop_key="stop/x")

    def stop_soon(row: dict[str, float]) -> None:
        store.put("stop/x", b"")
        time.sleep(0.05)

    from pipeline.training.runlog import Silent

    run = Silent()
    run.log = stop_soon  # type: ignore[method-assign]
    assert run_segment(job, lambda _: run).outcome == "interrupted"
    assert store.exists(partial_key(first.key))
    assert read_record(store, first.key) is None
    store.delete("stop/x")
    run_all(plan, homes, store)
    assert finals(store, plan) == finals(undisturbed, plan)
    assert science(store) == science(undisturbed)
    curves = [[r.curve for r in chain(s, plan.order[-1])] for s in (store, undisturbed)]
    assert curves[0] == curves[1]


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import pickle
from small import run_all
from pipeline.placement import Precision
from pipeline.store import Store
plan, homes = pickle.load(open({pickled!r}, "rb"))
run_all(plan, homes, Store({store!r}), checkpoint_seconds=0.0)
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path, homes: dict[str, Home]) -> None:
    """Killed again and again, the same call continues, and ends in the same bits."""
    import pickle
    import random

    study = Study(data="fractal", budgets=[800, 1600, 3200])
    study.tasks = {"d": Task(data="digits", shots=[3], finetune_steps=20)}
    plan = plan_of(study, homes, ["resnet"])
    undisturbed, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    run_all(plan, homes, undisturbed)
    (tmp_path / "plan").write_bytes(pickle.dumps((plan, homes)))
    code = KILLED.format(tests=str(Path(__file__).parent), pickled=str(tmp_path / "plan"), store=store.url)
    dice = random.Random(0)
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=dice.uniform(2.5, 6.0))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            continue
        assert process.returncode == 0, errors.decode()
        break
    assert finals(store, plan) == finals(undisturbed, plan)
    assert science(store) == science(undisturbed)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_bf16_trains_and_is_recorded(tmp_path: Path, homes: dict[str, Home], optimizer: Optimizer) -> None:
    store = Store(str(tmp_path))
    plan = plan_of(Study(data="fractal", budgets=[160]), homes, list(ARCHS), clip=1.0, optimizer=optimizer)
    run_all(plan, homes, store, precision=Precision.bf16)
    results = Ledger(store).results()
    assert len(results) == len(ARCHS)
    assert all(r.outcome is Outcome.done and r.cost["precision"] == "bf16" for r in results)


def test_clipping_bounds_the_step(tmp_path: Path, homes: dict[str, Home]) -> None:
    """With a tiny global norm SGD hardly moves; without clipping it does."""
    moved = {}
    for clip in (1e-6, 0.0):
        store = Store(str(tmp_path / str(clip)))
        plan = plan_of(Study(data="fractal", budgets=[160]), homes, ["vit"], clip=clip, optimizer=Optimizer.sgd, lr=0.1)
        run_all(plan, homes, store)
        (key,) = finals(store, plan)
        state = read_state(store, state_key(key))
        assert state is not None
        moved[clip] = float(state.model["head.weight"].norm())
    assert moved[1e-6] < 1e-5 < moved[0.0]


def test_divergence_is_a_result(tmp_path: Path, homes: dict[str, Home]) -> None:
    store = Store(str(tmp_path))
    plan = plan_of(Study(data="fractal", budgets=[320]), homes, ["vit"], lr=1e9, clip=0.0, schedule=Schedule.linear)
    run_all(plan, homes, store)
    (result,) = Ledger(store).results()
    assert result.outcome is Outcome.diverged
    assert "loss" in result.reason


def test_a_bug_leaves_its_log_and_no_lease(tmp_path: Path, homes: dict[str, Home]) -> None:
    store = Store(str(tmp_path))
    plan = plan_of(Study(data="fractal", budgets=[160]), homes, ["vit"])
    decay = next(s for s in plan.segments.values() if s.work is Work.decay)
    with pytest.raises(RuntimeError, match="start state"):
        run_segment(job_of(decay, homes, store))
    (log,) = store.keys("logs")
    assert b"RuntimeError" in (store.get(log) or b"")
    assert store.keys("leases") == []


def test_the_recipe_of_the_tests_is_a_shared_one() -> None:
    assert recipe().schedule is Schedule.wsd


def flip_a_bit(store: Store, key: str) -> None:
    data = bytearray(store.get(key) or b"")
    data[-1] ^= 1
    store.put(key, bytes(data))


def test_a_flipped_bit_of_a_start_state_is_refused(tmp_path: Path, homes: dict[str, Home]) -> None:
    """Of a trunk by the decay that leaves it, and of a parent by its transfer."""
    store = Store(str(tmp_path))
    study = Study(data="fractal", budgets=[160], tasks={"d": Task(data="digits", shots=[3])})
    plan = plan_of(study, homes, ["vit"])
    trunk, decay, transfer = plan.order
    for before, after in ((trunk, decay), (decay, transfer)):
        run_segment(job_of(plan.segments[before], homes, store))
        flip_a_bit(store, state_key(before))
        with pytest.raises(BadInput, match="checksum differs"):
            run_segment(job_of(plan.segments[after], homes, store))
        flip_a_bit(store, state_key(before))
    assert Ledger(store).known() == {plan.segments[decay].planned.digest}
