"""Bootstrap: draws of a family's frontier law, paired across families, deterministic by seed.

A draw resamples seeds (the same ones for every family, so that differences between families are not blurred) and
then perturbs every point by its own residual (wild bootstrap, Rademacher signs), enlarged by sqrt(n / (n - p)) for the
parameters that were fitted. A run is never split. With one seed only the perturbation remains.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.fit import Fit, choose_form, fit
from pipeline.laws.forms import Form
from pipeline.laws.frontier import groups, on_frontier
from pipeline.laws.point import Point

DRAWS = 1000
DELTA_FLOOR = 1e-3


@dataclass
class FamilyFit:
    """A family's law on one axis, with its bootstrap draws."""

    family: str
    points: list[Point]
    kept: np.ndarray
    """Mask of the points on the frontier."""
    point_fit: Fit
    draws: Fit

    @property
    def form(self) -> Form:
        return self.point_fit.form

    @property
    def x(self) -> np.ndarray:
        return np.array([p.x for p in self.points])[self.kept]

    def log_curve(self, log_x: np.ndarray) -> np.ndarray:
        return self.form.log_value(self.point_fit.theta, log_x)[0]

    def log_draws(self, log_x: np.ndarray) -> np.ndarray:
        """(draws, len(log_x))"""
        return self.form.log_value(self.draws.theta, log_x)


def fit_family(
    points: list[Point], seeds: list[int], axis: str, draws: int = DRAWS, seed: int = 0
) -> FamilyFit | None:
    """None when the frontier has too few distinct x for any law."""
    points = sorted(points, key=lambda p: (p.x, p.arch, p.seed, p.run))
    x, log_y = np.array([p.x for p in points]), np.log([p.y for p in points])
    group, level_x = groups(points), axis == "data"
    ones = np.ones((1, len(points)))
    kept = on_frontier(x, log_y[None], group, ones, level_x)[0]
    form = choose_form(x[kept])
    if form is None:
        return None
    delta = max(DELTA_FLOOR, 1.5 * _seed_deviation(log_y, group))
    point_fit = fit(form, x[kept], np.exp(log_y[kept]), delta=delta)
    weights, targets = _draw(points, log_y, point_fit, kept, seeds, draws, seed)
    masks = on_frontier(x, targets, group, weights, level_x)
    enough = _distinct(x, masks) >= len(form.parameters)
    masks[~enough] = kept  # a draw that lost its range keeps the frontier seen
    drawn = fit(form, x, np.exp(log_y), weights * masks, targets, delta, near=point_fit.theta[0])
    return FamilyFit(points[0].family, points, kept, point_fit, drawn)


def _draw(
    points: list[Point],
    log_y: np.ndarray,
    point_fit: Fit,
    kept: np.ndarray,
    seeds: list[int],
    draws: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and targets (draws, n). Seeds' weights are those of the same draw in every family."""
    shared = np.random.Generator(np.random.Philox(key=[seed, 1]))
    counts = shared.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=draws)
    column = {value: i for i, value in enumerate(seeds)}
    weights = counts[:, [column[p.seed] for p in points]].astype(float)
    family_key = int.from_bytes(points[0].family.encode()[:6], "little")
    own = np.random.Generator(np.random.Philox(key=[seed, family_key]))
    n, p = int(kept.sum()), len(point_fit.form.parameters)
    u = np.log([q.x for q in points])
    predicted = point_fit.form.log_value(point_fit.theta, u)[0]
    spread = np.zeros(len(points))
    spread[kept] = (log_y - predicted)[kept] * np.sqrt(n / max(1, n - p))
    signs = own.choice([-1.0, 1.0], size=(draws, len(points)))
    base = np.where(kept, predicted, log_y)
    targets = base + np.where(kept, signs * spread, 0.0)
    empty = weights.sum(1) == 0
    weights[empty] = 1.0
    return weights, targets


def _seed_deviation(log_y: np.ndarray, group: np.ndarray) -> float:
    """Standard deviation of ln y between seeds of one configuration; 0 with one seed."""
    squares, freedom = 0.0, 0
    for value in np.unique(group):
        members = log_y[group == value]
        squares += float(((members - members.mean()) ** 2).sum())
        freedom += len(members) - 1
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def _distinct(x: np.ndarray, masks: np.ndarray) -> np.ndarray:
    values = np.unique(x)
    return np.stack([(masks & (x == v)).any(1) for v in values]).sum(0)
