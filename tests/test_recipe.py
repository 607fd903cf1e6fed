import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.recipe import Optimizer, Recipe, Schedule


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.05, 0.9), st.integers(0, 3000))
def test_the_stable_part_does_not_depend_on_the_horizon(a: int, b: int, cooldown: float, warmup: int) -> None:
    recipe = Recipe(batch_size=16, cooldown=cooldown, warmup=warmup)
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
        ({"lr_family": {"vti": 1.0}}, "'vit'"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        Recipe(**values)
