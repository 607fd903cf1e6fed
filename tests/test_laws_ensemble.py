"""The ensemble and the roll-out."""

import json

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.laws.ensemble import AVERAGED, SINGLE, ensemble, ensembles
from pipeline.laws.rollout import rollout

X = np.geomspace(1e3, 1e6, 20)


def curve(x: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    y = 0.2 + 3.0 * (x / 1e3) ** -0.5
    return y * np.exp(noise * np.random.default_rng(seed).standard_normal(len(x)))


def test_true_form_is_followed_beyond_the_data() -> None:
    found = ensemble(X, curve(X))
    assert found.predict(X * 10) == pytest.approx(curve(X * 10), rel=1e-3)
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.names == AVERAGED


def test_flexible_forms_have_to_earn_their_weight() -> None:
    noisy = ensembles([(X, curve(X, 0.02, seed)) for seed in range(20)])
    weight = dict(zip(AVERAGED, np.mean([one.weights for one in noisy], axis=0), strict=True))
    assert weight["power_floor"] > weight["m4"] and weight["power_floor"] > weight["bnsl1"]


def test_mean_lies_between_its_forms_and_they_part_with_distance() -> None:
    found = ensemble(X, curve(X, 0.02))
    at = np.array([1e6, 1e7, 1e9])
    each = found.each(at)
    assert np.all((each.min(0) <= found.log(at)) & (found.log(at) <= each.max(0)))
    spread = found.spread(at)
    assert spread[0] < spread[1] < spread[2]


def test_bounded_metric_stays_below_its_bound() -> None:
    found = ensemble(X, np.clip(curve(X), None, 0.999), top=1.0)
    assert np.all(found.predict([1e-3, 1.0, 1e12]) <= 1.0)


def test_many_at_once_equal_one_at_a_time() -> None:
    sets = [(X, curve(X, 0.01, seed)) for seed in range(3)]
    for one, (x, y) in zip(ensembles(sets, SINGLE), sets, strict=True):
        assert one.predict(x * 3) == pytest.approx(ensemble(x, y, SINGLE).predict(x * 3), rel=1e-6)


def test_forms_without_places_are_named() -> None:
    found = ensemble(X[:6], curve(X[:6]))
    assert set(found.left_out) == {"m4", "bnsl1"}
    assert found.left_out["bnsl1"] == "it needs 8 distinct places, and there are 6"
    with pytest.raises(BadInput, match="No form can be fitted"):
        ensemble(X[:3], curve(X[:3]))


def test_rollout_predicts_what_it_has_not_seen() -> None:
    y = curve(X)
    spoiled = y.copy()
    spoiled[-1] *= 2.0
    clean, bad = rollout(X, y, "power_floor"), rollout(X, spoiled, "power_floor")
    assert len(clean.stages) == 4 and clean.rmse < 1e-6
    assert bad.stages[-1].error == pytest.approx([-np.log(2.0)], abs=1e-6)
    assert bad.stages[-1].distance == pytest.approx([X[-1] / X[-2]])
    assert bad.last == pytest.approx(np.log(2.0), abs=1e-6)


def test_rollout_of_a_surface_by_compute() -> None:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 1e10, 5)))
    y = 1.7 + (n / 1e6) ** -0.3 + (d / 1e8) ** -0.3
    found = rollout(np.stack([n, d], axis=1), y, "chinchilla", by=6 * n * d)
    assert found.rmse < 1e-6
    assert found.stages[-1].at == pytest.approx([6e18])


def test_rollout_of_many_places_goes_back_half_the_way() -> None:
    x = np.geomspace(1e3, 1e7, 81)
    found = rollout(x, curve(x), "power_floor")
    assert [len(stage.at) for stage in found.stages] == [40, 27, 14, 1]
    few = rollout(x[::10], curve(x[::10]), "power_floor")
    assert [len(stage.at) for stage in few.stages] == [4, 3, 2, 1]


def test_rollout_counts_by_weight() -> None:
    y, weights = curve(X), np.ones(len(X))
    y[2], weights[2] = 3.0, 1e-9
    assert rollout(X, y, "power_floor", weights=weights).last < 1e-4 < rollout(X, y, "power_floor", delta=1.0).last


def test_rollout_of_the_ensemble_is_deterministic() -> None:
    first, second = (rollout(X, curve(X, 0.02)) for _ in range(2))
    assert first.rmse == second.rmse
    assert json.dumps(first.rmse)


def test_nothing_to_leave_out() -> None:
    with pytest.raises(BadInput, match="Nothing can be left out"):
        rollout(X[:4], curve(X[:4]), "power_floor")
