from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.arch import ViT
from pipeline.plan import Address, Plan, Work, build_plan, trial_flops
from pipeline.recipe import Recipe, Schedule
from pipeline.study import Study, Sweep, expand
from pipeline.subset import Dataset
from pipeline.task import Parents, Task
from pipeline.trial import Transfer

DATA = Dataset("toy", "a" * 64, 1000, 10, 32, 3, 100)
DOWN = Dataset("down", "b" * 64, 500, 10, 32, 3, 0, 200)
ARCH = ViT(patch=8, depth=2, width=16, heads=2)
RECIPE = Recipe(batch_size=10, warmup=50, cooldown=0.2)


def plan(
    budgets: list[int], recipe: Recipe = RECIPE, tasks: bool = False, known=(), states=lambda d: set(), **values
) -> Plan:
    study = Study(data="toy", budgets=budgets, **values)
    if tasks:
        study.tasks = {"t": Task(data="down", shots=[2], finetune_steps=5)}
    datasets = {"toy": DATA, "down": DOWN}
    return build_plan(expand(study, {"vit": ARCH}, [recipe], datasets), datasets, known, states)


@given(
    st.sets(st.integers(1, 60).map(lambda k: 100 * k), min_size=1, max_size=8), st.sampled_from([0.1, 0.2, 0.3, 0.5])
)
def test_shared_flops_are_the_least_possible(budgets: set[int], cooldown: float) -> None:
    """(1 - c) max(B) + c sum(B), exactly, when c B is a whole number of steps."""
    made = plan(sorted(budgets), replace(RECIPE, cooldown=cooldown))
    per_sample = 3 * ARCH.flops(32, 3, 10)
    assert made.flops == round(((1 - cooldown) * max(budgets) + cooldown * sum(budgets)) * per_sample)
    assert made.flops_unshared == sum(budgets) * per_sample


@pytest.mark.parametrize(("factor", "saving"), [(2**0.5, 0.55), (2, 0.40)])
def test_the_saving_of_eight_budgets(factor: float, saving: float) -> None:
    """The figures in the README: 8 budgets, 20 % cool-down."""
    made = plan([10 * round(1000 * factor**k) for k in range(8)])
    assert 1 - made.flops / made.flops_unshared == pytest.approx(saving, abs=0.005)


@pytest.mark.parametrize("schedule", [Schedule.linear, Schedule.cosine])
def test_other_schedules_share_nothing(schedule: Schedule) -> None:
    made = plan([1000, 2000], replace(RECIPE, schedule=schedule))
    assert made.flops == made.flops_unshared
    assert all(s.start is None and s.work is Work.decay for s in made.segments.values())


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    st.lists(st.sampled_from([0, 100, 500]), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True),
    st.booleans(),
)
def test_a_plan_is_a_forest_that_serves_every_trial(
    budgets: list[int], sizes: list[int], seeds: list[int], tasks: bool
) -> None:
    made = plan(budgets, tasks=tasks, sizes=sizes, seeds=seeds)
    assert sorted(made.order) == sorted(made.segments)
    seen: set[str] = set()
    for key in made.order:
        segment = made.segments[key]
        assert segment.start is None or made.parent(segment) is None or segment.start.key in seen
        assert segment.steps > 0
        seen.add(key)
    finals = {d for s in made.segments.values() if s.final for d in [s.planned.digest]}
    assert finals == set(made.trials)
    for digest in made.trials:
        assert any(digest in s.serves for s in made.segments.values())
    for key, segment in made.segments.items():
        for child in made.children[key]:
            assert made.critical_path[key] >= made.critical_path[child] + segment.flops


def test_nothing_is_left_when_everything_is_known() -> None:
    whole = plan([1000, 2000], tasks=True)
    again = plan([1000, 2000], tasks=True, known=set(whole.trials))
    assert not again.segments
    assert again.flops == 0


def test_a_budget_added_later_extends_the_trunk_from_its_last_state() -> None:
    first = plan([1000, 2000])
    trunk = {s.end.digest for s in first.segments.values() if s.work is Work.stable}.pop()
    later = plan([1000, 2000, 4000], known=set(first.trials), states=lambda d: {80, 160} if d == trunk else set())
    stable = [s for s in later.segments.values() if s.work is Work.stable]
    assert [(s.start, s.end.step) for s in stable] == [(Address(trunk, 160), 320)]
    assert len(later.segments) == 2


def test_a_transfer_of_a_known_parent_needs_only_itself() -> None:
    whole = plan([1000], tasks=True)
    parents = {d for d, p in whole.trials.items() if not isinstance(p.trial, Transfer)}
    made = plan([1000], tasks=True, known=parents, states=lambda d: {100} if d in parents else set())
    assert {s.work for s in made.segments.values()} == {Work.transfer}
    remade = plan([1000], tasks=True, known=parents)
    assert {s.work for s in remade.segments.values()} == {Work.stable, Work.decay, Work.transfer}


def test_a_trial_of_two_sweeps_is_one_trial() -> None:
    study = Study(data="toy", sweeps={"a": Sweep(budgets=[1000]), "b": Sweep(budgets=[1000, 2000])})
    trials = expand(study, {"vit": ARCH}, [RECIPE], {"toy": DATA})
    assert sorted(sorted(p.sweeps) for p in trials.values()) == [["a", "b"], ["b"]]


def test_tasks_take_all_or_the_largest_parents() -> None:
    for parents, count in ((Parents.all, 4), (Parents.largest, 1)):
        study = Study(data="toy", budgets=[1000, 2000], sizes=[100, 0])
        study.tasks = {"t": Task(data="down", shots=[1], parents=parents)}
        trials = expand(study, {"vit": ARCH}, [RECIPE], {"toy": DATA, "down": DOWN})
        assert sum(isinstance(p.trial, Transfer) for p in trials.values()) == count


def test_flops_of_a_trial() -> None:
    made = plan([1000], tasks=True)
    forward = ARCH.flops(32, 3, 10)
    flops = sorted(trial_flops(p, made.datasets) for p in made.trials.values())
    assert flops == sorted([3 * forward * 1000, forward * (2 * 10 + 200), 3 * forward * 5 * 64])
