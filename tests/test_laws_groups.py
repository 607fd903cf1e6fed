"""Groups: one form for several families, some of its parameters in common."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pipeline.errors import BadInput
from pipeline.laws.fit import fit
from pipeline.laws.forms import FORMS, form_named
from pipeline.laws.forms.grouped import shared
from pipeline.laws.groups import fit_groups
from pipeline.laws.solver import objective

X = np.geomspace(1e4, 1e8, 14)
DELTA = 0.01


def families(noise: float = 0.01) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """vit and resnet with one exponent and one floor, in turn."""
    random = np.random.default_rng(2)
    vit, resnet = 0.1 + 3 * (X / 1e4) ** -0.5, 0.1 + 1.2 * (X / 1e4) ** -0.5
    y = np.stack([vit, resnet], 1).ravel() * np.exp(noise * random.standard_normal(2 * len(X)))
    return np.repeat(X, 2), y, ["vit", "resnet"] * len(X)


def test_recovers_what_is_shared() -> None:
    x, y, group = families(0.0)
    found = fit_groups(x, y, group, "power_floor", ["alpha", "E"])
    assert found.joint.form.parameters == ("E", "alpha", "A[resnet]", "A[vit]")
    params = {"E": 0.1, "alpha": 0.5, "A[resnet]": 120.0, "A[vit]": 300.0}
    assert found.joint.params == pytest.approx(params, rel=1e-9)
    assert found.joint.status == "converged"


def test_shared_exponent_is_that_of_a_fit_by_hand() -> None:
    x, y, group = families(0.02)
    found = fit_groups(x, y, group, "power_floor", ["alpha"], delta=DELTA)
    vit = np.array(group) == "vit"

    def loss(t: np.ndarray) -> float:
        floor, factor = np.where(vit, t[1], t[2]), np.where(vit, t[3], t[4])
        residual = np.log(y) - np.log(np.exp(floor) + np.exp(factor) * (x / 1e6) ** -np.exp(t[0]))
        return float(objective(residual, np.ones_like(y), DELTA))

    start = np.log([0.4, 0.08, 0.08, 0.3, 0.15])
    by_hand = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 20_000})
    by_hand = minimize(
        loss, by_hand.x, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-15, "maxiter": 20_000}
    )
    assert found.joint.objective == pytest.approx(by_hand.fun, rel=1e-7)
    assert found.joint.params["alpha"] == pytest.approx(np.exp(by_hand.x[0]), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("power_floor", [0.1, 300, 0.5], [0.2, 40, 0.3]),
        ("shifted", [0.1, 300, 0.5, 2e4], [0.2, 900, 0.6, 5e5]),
        ("m3", [400, 0.5, 1e-6], [90, 0.4, 1e-7]),
        ("m4", [0.1, 2.0, 2e3, 0.7, 1.0], [0.2, 2.5, 6e4, 0.9, 1.5]),
    ],
)
def test_nothing_shared_is_each_alone(name: str, first: list[float], second: list[float]) -> None:
    form, random = FORMS[name], np.random.default_rng(2)
    x, logs, zero = np.tile(X, 2), np.log(X)[:, None], np.zeros(1)
    clean = [form.log(form.internal(np.array(params, float), zero, 0.0), logs)[0] for params in (first, second)]
    y = np.exp(np.concatenate(clean) + 0.003 * random.standard_normal(len(x)))
    found = fit_groups(x, y, ["a"] * len(X) + ["b"] * len(X), name, delta=DELTA)
    alone = {"a": fit(X, y[: len(X)], name, delta=DELTA), "b": fit(X, y[len(X) :], name, delta=DELTA)}
    assert found.joint.objective == pytest.approx(sum(one.objective for one in alone.values()), rel=1e-6)
    for family, one in alone.items():
        assert found.of(family).params == pytest.approx(one.params, rel=1e-4)


def test_one_family_as_a_fit_of_its_own() -> None:
    x, y, group = families()
    found = fit_groups(x, y, group, "power_floor", ["alpha", "E"])
    one, rows = found.of("vit"), np.array(group) == "vit"
    assert one.form is FORMS["power_floor"] and one.params["alpha"] == found.joint.params["alpha"]
    assert one.params["A"] == pytest.approx(found.joint.params["A[vit]"])
    assert np.log(y[rows]) - np.log(one.predict(x[rows])) == pytest.approx(one.residuals)
    with pytest.raises(KeyError, match="mixer"):
        found.of("mixer")


def test_several_inputs() -> None:
    random = np.random.default_rng(4)
    x = np.exp(random.uniform([12, 14], [18, 20], (80, 2)))
    group = np.where(random.random(80) < 0.5, "a", "b")
    factor = np.where(group == "a", 300.0, 900.0)
    y = 0.5 + factor * x[:, 0] ** -0.4 + 200 * x[:, 1] ** -0.3
    found = fit_groups(x, y, list(group), "chinchilla", ["E", "alpha", "beta", "B"])
    params = {"E": 0.5, "alpha": 0.4, "B": 200.0, "beta": 0.3, "A[a]": 300.0, "A[b]": 900.0}
    assert found.joint.params == pytest.approx(params, rel=1e-8)


def test_different_exponents_with_one_floor() -> None:
    y = np.concatenate([0.2 + 40 * X**-0.3, 0.2 + 900 * X**-0.7])
    found = fit_groups(np.tile(X, 2), y, ["a"] * 14 + ["b"] * 14, "power_floor", ["E"])
    assert found.joint.params["E"] == pytest.approx(0.2, rel=1e-8)
    assert found.joint.params["alpha[b]"] == pytest.approx(0.7, rel=1e-8)


def test_order_of_the_points_does_not_matter() -> None:
    x, y, group = families()
    order = np.random.default_rng(1).permutation(len(x))
    one, other = fit_groups(x, y, group), fit_groups(x[order], y[order], np.array(group)[order].tolist())
    assert one.joint.params == other.joint.params


@pytest.mark.parametrize("name", ["power_floor", "m4", "chinchilla", "muennighoff"])
def test_gradient_shapes_and_conversion(name: str) -> None:
    whole, random = shared(form_named(name), ["a", "b", "c"], ["E"]), np.random.default_rng(7)
    low, high = (np.array([b[i] for b in whole.bounds]) for i in (0, 1))
    low, high = np.maximum(low, -0.5), np.minimum(high, 0.7)
    theta = low + (high - low) * (0.2 + 0.6 * random.random((2, 1, whole.size)))
    logs = random.uniform(-2, 2, (4, 9, len(whole.inputs)))
    logs[..., -1] = np.log(1 + np.arange(9) % 3)
    value, gradient = whole.log(theta, logs)
    assert value.shape == (2, 4, 9) and gradient.shape == (2, 4, whole.size, 9)
    for i, step in enumerate(1e-6 * np.eye(whole.size)):
        slope = (whole.log(theta + step, logs)[0] - whole.log(theta - step, logs)[0]) / 2e-6
        assert gradient[..., i, :] == pytest.approx(slope, abs=1e-6)
    centre = whole.centre(random.uniform(2, 9, (5, len(whole.inputs))))
    assert whole.internal(whole.natural(theta, centre, 0.3), centre, 0.3) == pytest.approx(theta)


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (["alfa"], "no parameter 'alfa' to share: did you mean 'alpha'"),
        (["A"], "A of power_floor means the same only along with alpha"),
    ],
)
def test_cannot_be_shared(share: list[str], says: str) -> None:
    x, y, group = families()
    with pytest.raises(BadInput, match=says):
        fit_groups(x, y, group, "power_floor", share)


def test_a_group_needs_points_of_its_own() -> None:
    x, y, group = families()
    with pytest.raises(BadInput, match=r"to mixer: with 2 parameters of its own it needs 3 distinct places .* not 1"):
        fit_groups(x, y, [*group[:-1], "mixer"], "power_floor", ["alpha"])
    with pytest.raises(BadInput, match="a group of every point, not 27 for 28"):
        fit_groups(x, y, group[:-1])


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_bad_place_is_named(bad: float) -> None:
    x, y, group = families()
    with pytest.raises(BadInput, match="every x must be finite and positive; value 3"):
        fit_groups(np.where(np.arange(len(x)) == 3, bad, x), y, group)
