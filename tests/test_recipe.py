import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.recipe import Optimizer, Recipe, Schedule


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.floats(0.05, 0.9),
    st.integers(0, 3000),
    st.sampled_from([Schedule.wsd, Schedule.rsqrt]),
)
def test_the_stable_part_does_not_depend_on_the_horizon(
    a: int, b: int, cooldown: float, warmup: int, schedule: Schedule
) -> None:
    recipe = Recipe(batch_size=16, cooldown=cooldown, warmup=warmup, schedule=schedule, timescale=500)
    short, long = sorted((a, b))
    for step in range(short - recipe.cooldown_steps(short)):
        assert recipe.lr_at(step, short) == recipe.lr_at(step, long)


@pytest.mark.parametrize("schedule", list(Schedule))
def test_every_schedule_warms_up_and_ends_near_zero(schedule: Schedule) -> None:
    recipe = Recipe(batch_size=10, warmup=100, schedule=schedule, lr=1.0, timescale=10_000)
    lr = [recipe.lr_at(step, 200) for step in range(200)]
    assert lr[0] == pytest.approx(0.1, rel=0.02)
    assert max(lr) == pytest.approx(1.0, rel=0.15)
    assert 0 < lr[-1] < 0.03


@pytest.mark.parametrize("schedule", list(Schedule))
@given(st.integers(2, 300), st.floats(0.0, 0.5), st.integers(0, 4000))
def test_a_decay_falls_to_its_end_and_no_further(schedule: Schedule, steps: int, end: float, warmup: int) -> None:
    """Monotone from the end of the warm-up; one step after the last it would be exactly at ``lr_end``."""
    recipe = Recipe(batch_size=10, warmup=warmup, schedule=schedule, lr=1.0, lr_end=end, timescale=10_000)
    rates = [recipe.lr_at(step, steps) for step in range(max(0, warmup // 10), steps)]
    assert all(after <= before + 1e-12 for before, after in pairwise(rates))
    if warmup < 10 * steps and rates and not recipe.shares_trunk:
        assert rates[-1] >= end - 1e-12
        assert recipe.lr_at(steps, steps) == pytest.approx(end, abs=1e-9)


def test_linear_and_cosine_by_hand() -> None:
    """Of 100 steps with 10 of warm-up, from 1 to 0.2: halfway is step 54.5, the official code's step being 1-based."""
    for schedule in (Schedule.linear, Schedule.cosine):
        recipe = Recipe(batch_size=10, warmup=100, schedule=schedule, lr=1.0, lr_end=0.2)
        assert recipe.lr_at(9, 100) == 1.0
        assert (recipe.lr_at(54, 100) + recipe.lr_at(55, 100)) / 2 == pytest.approx(0.6)
        progress = 90 / 91
        share = 1 - progress if schedule is Schedule.linear else 0.5 * (1 + math.cos(math.pi * progress))
        assert recipe.lr_at(99, 100) == pytest.approx(0.2 + 0.8 * share)


def test_rsqrt_by_hand() -> None:
    """lr / sqrt(1 + samples since warm-up / timescale), then straight to the end over the cool-down."""
    recipe = Recipe(batch_size=10, warmup=100, schedule=Schedule.rsqrt, timescale=300, lr=2.0, cooldown=0.25)
    assert recipe.lr_at(100, 1000) == pytest.approx(2 / (1 + 900 / 300) ** 0.5)
    branch = 1000 - recipe.cooldown_steps(1000)
    assert branch == 750
    assert recipe.lr_at(branch - 1, 1000) == recipe.lr_at(branch - 1, 5000)
    assert recipe.lr_at(branch + 1, 1000) < recipe.lr_at(branch + 1, 5000)


def test_rules_are_resolved_to_numbers() -> None:
    recipe = Recipe(lr=1e-3, lr_family={"resnet": 4.0})
    assert recipe.resolve("resnet").lr == 4e-3
    assert recipe.resolve("vit") == Recipe(lr=1e-3)


@pytest.mark.parametrize(
    ("base", "idle"),
    [
        ({"schedule": Schedule.linear}, {"cooldown": 0.3}),
        ({"schedule": Schedule.cosine}, {"cooldown": 0.0, "timescale": 7}),
        ({"schedule": Schedule.wsd}, {"timescale": 7}),
        ({"optimizer": Optimizer.adamw}, {"momentum": 0.5}),
        ({"optimizer": Optimizer.sgd}, {"beta1": 0.5, "beta2": 0.5}),
        ({"randaugment_layers": 0}, {"randaugment_magnitude": 3}),
    ],
)
def test_what_has_no_effect_is_no_part_of_a_trial(base: dict, idle: dict) -> None:
    assert Recipe(**base, **idle).resolve("vit") == Recipe(**base)


def test_only_transformers_have_random_layers_to_regularise() -> None:
    noisy = Recipe(dropout=0.1, drop_path=0.2)
    assert noisy.resolve("vit") == noisy.resolve("hybrid") == noisy
    assert noisy.resolve("resnet") == noisy.resolve("timm") == noisy.resolve("module") == Recipe()


def test_what_has_an_effect_stays() -> None:
    wanted = Recipe(cooldown=0.3, momentum=0.5, optimizer=Optimizer.sgd, randaugment_layers=2, randaugment_magnitude=3)
    assert wanted.resolve("vit") == wanted
    slow = Recipe(schedule=Schedule.rsqrt, timescale=7, beta2=0.95)
    assert slow.resolve("vit") == slow


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"lr": -1.0}, "lr"),
        ({"batch_size": 0}, "batch_size"),
        ({"cooldown": 2.0}, "cooldown"),
        ({"colour": -0.1}, r"recipe\.colour must be a number and not negative, not -0\.1\.$"),
        ({"colour": math.inf}, r"recipe\.colour"),
        ({"hue": 0.6}, r"recipe\.hue must lie between 0 and 0\.5, not 0\.6\.$"),
        ({"hue": math.nan}, r"recipe\.hue"),
        ({"cutmix": -1.0}, r"recipe\.cutmix"),
        ({"lr_family": {"vti": 1.0}}, "'vit'"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        Recipe(**values)
