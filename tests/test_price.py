from dataclasses import replace

import pytest

from pipeline.arch import ViT
from pipeline.errors import BadInput, OverBudget
from pipeline.ledger import Outcome, Result
from pipeline.plan import build_plan
from pipeline.price import Device, Throughput, quote, refuse
from pipeline.recipe import Recipe
from pipeline.study import Study, expand
from pipeline.subset import Dataset

DATA = Dataset("toy", "a" * 64, 1000, 10, 32, 3, 100)
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
