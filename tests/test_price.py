from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.arch import Arch, Hybrid, ResNet, Root, ViT
from pipeline.errors import BadInput, OverBudget
from pipeline.ledger import Outcome, Result
from pipeline.plan import build_plan
from pipeline.price import Device, Throughput, quote, refuse
from pipeline.recipe import Recipe
from pipeline.study import Study, Sweep, expand
from pipeline.subset import Dataset
from pipeline.task import Task

DATA = Dataset("toy", "a" * 64, 1000, 10, 32, 3, 100, 100)
ARCH = ViT(patch=8, depth=2, width=16, heads=2)


def plan(study: Study):
    return build_plan(expand(study, {"vit_x": ARCH}, [Recipe(batch_size=10)], {"toy": DATA}), {"toy": DATA})


def measured(rate: float, device: str = "gpu", arch: str = "vit_x") -> Result:
    facts = {"arch": arch, "family": "vit", "train_flops": rate * 10}
    return Result("d", "pretrain", {}, Outcome.done, {}, facts, {"device": device, "device_seconds": 10.0})


def test_hours_and_money_from_the_device_table() -> None:
    made = plan(Study(data="toy", budgets=[1000]))
    told = quote(made, Throughput([], Device("gpu", sustained_flops=1e9, price_per_hour=7.0)))
    assert told.total.hours == pytest.approx(made.flops / 1e9 / 3600)
    assert told.total.cost == pytest.approx(7 * made.flops / 1e9 / 3600)
    assert told.total.basis == "device table"


def test_a_measurement_on_the_same_device_wins() -> None:
    made = plan(Study(data="toy", budgets=[1000]))
    device = Device("gpu", sustained_flops=1e9)
    own = quote(made, Throughput([measured(5e8)], device))
    assert (own.total.basis, own.total.hours) == ("measured", pytest.approx(made.flops / 5e8 / 3600))
    other = quote(made, Throughput([measured(5e8, device="cpu")], device))
    assert other.total.basis == "device table"
    family = quote(made, Throughput([measured(2e8, arch="vit_y")], device))
    assert family.total.hours == pytest.approx(made.flops / 2e8 / 3600)


def test_large_runs_outweigh_small_ones_and_transfers_do_not_count() -> None:
    """A trial run of a few steps must not price a study by its evaluations, nor few-shot by its parent's FLOPs."""
    made = plan(Study(data="toy", budgets=[1000]))
    tiny, large = measured(1e7), measured(5e8)
    large.cost |= {"samples_per_second": 200.0, "devices": 2.0, "device_seconds": 1e9}
    large.facts |= {"forward_flops": 4e6, "train_flops": 1e12}
    transfer = replace(measured(1e15), kind="transfer")
    told = quote(made, Throughput([tiny, large, transfer], Device("gpu")))
    rate = (1e8 + 1e12) / (1e8 / 1e7 + 1e12 / (3 * 4e6 * 200 / 2))
    assert told.total.hours == pytest.approx(made.flops / rate / 3600)


def test_what_is_unknown_stays_unknown() -> None:
    told = quote(plan(Study(data="toy", budgets=[1000])), Throughput([], Device("mystery")))
    assert told.total.hours is None
    assert told.total.cost is None
    with pytest.raises(BadInput, match=r"device\.sustained_flops"):
        refuse(Study(max_hours=1.0), told)


def capped(cap: str, value: float) -> Study:
    study = Study()
    setattr(study, cap, value)
    return study


@pytest.mark.parametrize("cap", ["max_flops", "max_hours", "max_cost"])
def test_caps(cap: str) -> None:
    told = quote(
        plan(Study(data="toy", budgets=[1000])), Throughput([], Device("g", sustained_flops=1e6, price_per_hour=1.0))
    )
    refuse(capped(cap, 1e12), told)
    with pytest.raises(OverBudget, match=cap):
        refuse(capped(cap, 1e-9), told)


ARCHS: dict[str, Arch] = {
    "vit_x": ARCH,
    "resnet_x": ResNet([1, 1], 4, Root.small, 2),
    "vit_y": ViT(patch=8, depth=1, width=16, heads=2),
    "hybrid_x": Hybrid([1], 4, Root.small, 2, depth=1, width=16, heads=2),
}


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(1, 50), min_size=1, max_size=4), st.sets(st.integers(1, 9), min_size=1, max_size=3))
def test_a_row_is_a_pre_training_by_itself(budgets: set[int], seeds: set[int]) -> None:
    """Whatever it shares, however many seeds and transfers rest on it."""
    study = Study(data="toy", budgets=[10 * b for b in budgets], seeds=list(seeds), sizes=[100, 0])
    study.tasks = {"t": Task(data="toy", finetune_steps=3)}
    trials = expand(study, ARCHS, [Recipe(batch_size=10), Recipe(batch_size=10, lr=0.1)], {"toy": DATA})
    known = set(list(trials)[::3])
    told = quote(build_plan(trials, {"toy": DATA}, known), Throughput([], Device("g", sustained_flops=1e6)))
    assert len(told.rows) == len(ARCHS) * 2 * len(budgets)
    for row in told.rows:
        arch = ARCHS[row.arch]
        assert row.flops == 3 * arch.flops(32, 3, 10) * row.budget
        assert row.flops_inside == 3 * arch.flops(32, 3, 10, padding=False) * row.budget
        assert row.hours == pytest.approx(row.flops / 1e6 / 3600)
        assert (row.trials, row.epochs) == (2 * len(seeds), row.budget / row.samples)
    pretrained = {d for d, p in trials.items() if not p.task}
    assert sum(row.known for row in told.rows) == len(known & pretrained)
    order = [(row.arch, row.samples, row.budget) for row in told.rows]
    families = ["vit_x", "vit_y", "resnet_x", "hybrid_x"]
    assert order == sorted(order, key=lambda r: (families.index(r[0]), *r[1:]))
    assert [r["flops"] for r in told.to_plain()["pretraining"]] == [row.flops for row in told.rows]


def test_rows_follow_their_sweeps() -> None:
    sweeps = {"a": Sweep(archs=["vit_y"], epochs=[2]), "b": Sweep(archs=["vit_x", "vit_y"], epochs=[1], sizes=[100])}
    trials = expand(Study(data="toy", sweeps=sweeps), ARCHS, [Recipe(batch_size=10)], {"toy": DATA})
    rows = quote(build_plan(trials, {"toy": DATA}), Throughput([], Device())).rows
    assert [(r.arch, r.samples, r.epochs) for r in rows] == [("vit_y", 100, 1), ("vit_y", 1000, 2), ("vit_x", 100, 1)]
    assert rows[0].hours is None
