"""Every form of the registry: gradient, inverse, conversion of parameters, and exact recovery of its own curves."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.laws.fit import fit, fit_many
from pipeline.laws.forms import FORMS, Form

ONE_INPUT = [name for name, form in FORMS.items() if len(form.inputs) == 1]


def inside(form: Form, random: np.random.Generator, shape: tuple[int, ...] = ()) -> np.ndarray:
    """theta somewhere in the middle of what the form allows."""
    low, high = (np.array([b[i] for b in form.bounds]) for i in (0, 1))
    low, high = np.maximum(low, -0.8), np.minimum(high, 0.8)
    return low + (high - low) * (0.15 + 0.7 * random.random((*shape, form.size)))


@pytest.mark.parametrize("name", FORMS)
def test_gradient_is_the_slope(name: str) -> None:
    form, random = FORMS[name], np.random.default_rng(3)
    theta = inside(form, random)
    u = random.uniform(-3, 3, (7, len(form.inputs)))
    _, gradient = form.log(theta, u)
    assert gradient.shape == (form.size, 7)
    for i in range(form.size):
        step = np.zeros(form.size)
        step[i] = 1e-6
        slope = (form.log(theta + step, u)[0] - form.log(theta - step, u)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_leading_axes_broadcast(name: str) -> None:
    form, random = FORMS[name], np.random.default_rng(4)
    theta, u = inside(form, random, (3, 2)), random.uniform(-2, 2, (2, 5, len(form.inputs)))
    value, gradient = form.log(theta, u)
    assert value.shape == (3, 2, 5) and gradient.shape == (3, 2, form.size, 5)
    assert value[2, 1] == pytest.approx(form.log(theta[2, 1], u[1])[0])


@pytest.mark.parametrize("name", FORMS)
def test_natural_and_back(name: str) -> None:
    form, random = FORMS[name], np.random.default_rng(5)
    theta, centre = inside(form, random, (4,)), random.uniform(3, 9, len(form.inputs))
    natural = form.natural(theta, centre, 0.7)
    assert form.internal(natural, centre, 0.7) == pytest.approx(theta)
    moved = form.internal(natural, centre + 1.0, 0.2)
    x = random.uniform(2, 8, (6, len(form.inputs)))
    assert form.log(moved, x - centre - 1.0)[0] + 0.2 == pytest.approx(form.log(theta, x - centre)[0] + 0.7)


@pytest.mark.parametrize("name", ONE_INPUT)
def test_inverse_undoes_the_curve(name: str) -> None:
    form = FORMS[name]
    theta = np.abs(inside(form, np.random.default_rng(6)))
    value, _ = form.log(theta, np.array([[1.7]]))
    assert form.inverse(theta, float(value[0])) == pytest.approx(1.7, abs=1e-3 if name.startswith("bnsl") else 1e-8)


def test_below_the_floor_is_never_reached() -> None:
    theta = np.array([0.3, -0.2, 0.4])
    assert np.isinf(FORMS["power_floor"].inverse(theta, np.log(0.2)))


@pytest.mark.parametrize("name", FORMS)
def test_parts_of_the_registry(name: str) -> None:
    form = FORMS[name]
    assert form.name == name and form.latex and len(form.units) == len(form.bounds) == form.size
    assert all(low < high for low, high in form.bounds)


def surfaces(form: Form, count: int, points: int = 60) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(x, y, params) without noise."""
    random = np.random.default_rng(11)
    out = []
    for _ in range(count):
        theta = _typical(form, random)
        u = np.stack([random.permutation(np.linspace(-4, 4, points)) for _ in form.inputs], axis=1)
        centre = form.centre(random.uniform(5, 15, (1, len(form.inputs))))
        v, _ = form.log(theta, u)
        out.append((np.exp(u + centre), np.exp(v), form.natural(theta, centre, 0.0)))
    return out


def _typical(form: Form, random: np.random.Generator) -> np.ndarray:
    """Parameters of which each shows in eight e-folds of x."""
    ranges = {
        "power": [(-1, 1), (0.1, 0.6)],
        "power_floor": [(0.1, 1.0), (-1, 1), (0.2, 0.6)],
        "shifted": [(0.1, 0.5), (-0.5, 0.5), (0.3, 0.8), (0.2, 1.0)],
        "m3": [(-1, 1), (0.2, 0.8), (0.1, 0.6)],
        "m4": [(0.1, 0.4), (-0.2, 0.5), (-0.5, 0.5), (0.4, 1.0), (0.5, 2.0)],
        "bnsl1": [(0.05, 0.2), (-0.5, 0.5), (0.05, 0.2), (0.4, 0.9), (-1, 1), (0.3, 0.7)],
        "bnsl2": [
            (0.02, 0.05),
            (-0.3, 0.3),
            (0, 0.1),
            (0.5, 0.8),
            (-2, -1.5),
            (0.2, 0.3),
            (0.4, 0.6),
            (1, 1.5),
            (0.2, 0.3),
        ],
        "chinchilla": [(0.3, 1.0), (-1, 0), (0.2, 0.5), (-1, 0), (0.2, 0.5)],
        "skaling": [(0.1, 0.5), (-1, 0), (0.2, 0.5), (-0.5, 0.5), (0.2, 0.5), (0.5, 2.0)],
        "kaplan": [(-1, 0), (0.1, 0.5), (-1, 0), (0.1, 0.5)],
        "muennighoff": [(0.3, 1.0), (-1, 0), (0.2, 0.5), (-1, 0), (0.2, 0.5), (0.5, 2.5), (0.5, 2.5)],
        "bounded": [
            (0.2, 0.6),
            (0.0, 1.0),
            (-2, -1),
            (0.3, 0.6),
            (-2, -1),
            (0.3, 0.6),
            (-2, -1),
            (0.2, 0.6),
            (0.3, 0.7),
        ],
        "shape": [(-1, 0), (0.3, 0.7), (-2, -1), (0.2, 0.5), (-1, 0), (0.3, 0.7), (0.1, 0.5)],
        "sigmoid": [(0.1, 0.3), (-0.7, -0.2), (-0.5, 1.0), (0.5, 3.0)],
    }
    low, high = np.array(ranges.get(form.name) or form.bounds).T
    return random.uniform(low, high)


@pytest.mark.parametrize("name", FORMS)
def test_recovers_its_own_curves(name: str) -> None:
    made = surfaces(FORMS[name], 20)
    found = fit_many([(x, y) for x, y, _ in made], name)
    for one, (_, _, params) in zip(found, made, strict=True):
        assert list(one.params.values()) == pytest.approx(params, rel=1e-6)


@pytest.mark.parametrize("name", ["power_floor", "m4", "chinchilla"])
def test_units_do_not_matter(name: str) -> None:
    x, y, _ = surfaces(FORMS[name], 1)[0]
    y = y * np.exp(0.01 * np.sin(17 * np.arange(len(y))))
    base, other = fit(x, y, name), fit(x * 1e6, y * 1e-3, name)
    assert other.predict(x * 3e6) == pytest.approx(base.predict(x * 3) * 1e-3, rel=1e-6)
    assert other.objective == pytest.approx(base.objective, rel=1e-7)


def value(name: str, params: list[float], x: list[float]) -> float:
    form, logs = FORMS[name], np.log([x])
    centre = form.centre(logs + 0.3)
    return float(np.exp(form.log(form.internal(np.array(params), centre, 0.4), logs - centre)[0] + 0.4)[0])


@pytest.mark.parametrize(
    ("size", "seen", "loss"), [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)]
)
def test_published_losses_of_repeated_data(size: float, seen: float, loss: float) -> None:
    """The two models of figure 1 of Muennighoff et al. 2023, 25e9 unique tokens, with the constants of appendix A."""
    params = [*np.exp([0.6254804, 6.255414]), 0.3526596, np.exp(7.3049974), 0.3526596, 15.387756, 5.309743]
    assert value("muennighoff", params, [size, seen, 25e9]) == pytest.approx(loss, rel=1e-12)


def test_one_pass_over_the_data_is_chinchilla() -> None:
    params = [1.69, 406.4, 0.34, 410.7, 0.28]
    once = value("muennighoff", [*params, 15.0, 5.0], [1e8, 2e10, 5e10])
    assert once == pytest.approx(value("chinchilla", params, [1e8, 2e10]), rel=1e-12)


H = 9 * 1e3**-0.4 + 8 * 1e5**-0.3 + 2 * 1e3**0.2 * 1e4**-0.5


@pytest.mark.parametrize(
    ("name", "params", "x", "y"),
    [
        ("skaling", [1.5, 4.0, 0.3, 20.0, 0.4, 1.7], [1e3, 1e4], 1.5 + 4 * (1e3**-0.3 + 20 * 1e4**-0.4) ** 1.7),
        ("kaplan", [6e13, 0.08, 2e13, 0.1], [1e7, 1e9], ((6e13 / 1e7) ** 0.8 + 2e4) ** 0.1),
        ("bounded", [0.5, 7, 9, 0.4, 8, 0.3, 2, 0.2, 0.5], [1e3, 1e4, 1e5], 0.5 + 6.5 * H / (1 + H)),
        (
            "shape",
            [3.0, 0.7, 0.2, 0.3, 1.5, 0.4, 0.1],
            [64, 1e3],
            3 * 64**-0.7 + (0.2 * 64**0.3 + 1.5) * 1e3**-0.4 + 0.1,
        ),
        ("sigmoid", [0.1, 0.9, 3.0, 1.2], [0.8], 0.1 + 0.8 / (1 + np.exp(3 * (0.8 - 1.2)))),
    ],
)
def test_formula(name: str, params: list[float], x: list[float], y: float) -> None:
    assert value(name, params, x) == pytest.approx(y, rel=1e-6)


def test_accuracy_outside_its_levels_has_no_loss() -> None:
    theta = np.array([0.1, np.log(0.8), 1.0, 1.0])
    at = [float(FORMS["sigmoid"].inverse(theta, float(np.log(y)))) for y in (0.05, 0.95)]
    assert at == [np.inf, -np.inf]


def test_every_form_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "forms.md").read_text()
    rows = [[cell.strip() for cell in line.split(" | ")] for line in page.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("|` "): (row[2], row[3]) for row in rows}
    assert listed == {name: (", ".join(f.inputs), ", ".join(f.parameters)) for name, f in FORMS.items()}
    assert all(len(row) == 6 and all(row) for row in rows)
