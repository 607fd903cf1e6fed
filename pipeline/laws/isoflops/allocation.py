"""Allocation: how a compute budget is best split between model size and data, with intervals from draws."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.laws import wording
from pipeline.laws.fit import Fit, fit, refit, shortage
from pipeline.laws.forms import Array, form_named

LEVEL = 0.95
FURTHEST = 700.0
"""In logarithms: ends that lie further are shown as this."""
TIED = 1e-5
"""Differences of exponents and of ln N* this small are rounding."""


@dataclass(frozen=True)
class Interval:
    value: float
    lo: float
    hi: float

    @classmethod
    def of(cls, value: float, draws: Array, level: float = LEVEL) -> "Interval":
        lo, hi = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        return cls(float(value), float(lo), float(hi))

    @classmethod
    def of_log(cls, value: float, draws: Array, level: float = LEVEL) -> "Interval":
        """From a logarithm and its draws."""
        found = cls.of(value, draws, level)
        return cls(*(float(np.exp(np.clip(v, -FURTHEST, FURTHEST))) for v in (found.value, found.lo, found.hi)))


@dataclass(frozen=True)
class PowerLaw:
    """factor x (C / at)^exponent. ``log`` [2] and ``draws`` [B, 2] are the ln of the factor and the exponent."""

    at: float
    log: Array = field(repr=False)
    draws: Array = field(repr=False)
    level: float = LEVEL

    @property
    def factor(self) -> Interval:
        return Interval.of_log(self.log[0], self.draws[:, 0], self.level)

    @property
    def exponent(self) -> Interval:
        return Interval.of(self.log[1], self.draws[:, 1], self.level)

    def __call__(self, flops: float) -> Interval:
        u = np.array([1.0, np.log(flops / self.at)])
        return Interval.of_log(float(self.log @ u), self.draws @ u, self.level)


@dataclass(frozen=True)
class LossLaw:
    """L*(C), the loss at the optimum: a law through the budgets, fitted anew to every draw."""

    fit: Fit
    draws: Array = field(repr=False)
    level: float = LEVEL

    def __call__(self, flops: float) -> Interval:
        x = np.array([flops])
        return Interval.of_log(self.fit.log(x)[0], self.fit.log(x, self.draws)[:, 0], self.level)


@dataclass(frozen=True)
class Allocation:
    size: PowerLaw
    """N*(C)."""
    samples: PowerLaw | None
    """D*(C); None where the FLOPs of a sample are not known."""
    loss: LossLaw | None
    """L*(C); None for fewer budgets than a law with a floor needs: without one it promises too much."""
    cost: "Cost | None" = field(repr=False)

    def at(self, flops: float) -> "Share":
        """Samples are those that the measured cost of N* leaves: past the budgets D*(C) need be no power law."""
        samples = None
        if self.cost is not None:
            u, c = np.array([1.0, np.log(flops / self.size.at)]), np.log(flops)
            value, draws = c - self.cost(np.array([self.size.log @ u])), c - self.cost(self.size.draws @ u)
            samples = Interval.of_log(float(value[0]), draws, self.size.level)
        return Share(self.size(flops), samples, self.loss(flops) if self.loss else None)


@dataclass(frozen=True)
class Share:
    """The best model size and samples at one compute, and the loss they reach."""

    size: Interval
    samples: Interval | None
    loss: Interval | None


@dataclass(frozen=True)
class Cost:
    """Measured training FLOPs of one sample by model size, straight in logarithms between sizes and past them."""

    n: Array
    log: Array

    @classmethod
    def of(cls, n: Array, log: Array) -> "Cost":
        """From runs; those of one size are averaged."""
        order = np.argsort(n, kind="stable")
        groups = np.split(order, 1 + np.flatnonzero(np.diff(n[order]) > 1e-6))
        return cls(np.array([n[g].mean() for g in groups]), np.array([log[g].mean() for g in groups]))

    def __call__(self, n: Array) -> Array:
        if len(self.n) == 1:
            return np.full_like(n, self.log[0])
        left = np.clip(np.searchsorted(self.n, n) - 1, 0, len(self.n) - 2)
        share = (n - self.n[left]) / (self.n[left + 1] - self.n[left])
        return self.log[left] + share * (self.log[left + 1] - self.log[left])


def allocation(
    c: Array, n: Array, n_draws: Array, v: Array, v_draws: Array, cost: Cost | None, level: float = LEVEL
) -> Allocation:
    """From ln C [K], and at those budgets ln N* [K], ln L* [K] with draws [B, K]."""
    at = float(np.exp(c.mean()))
    size = _power_law(at, c, n, n_draws, level)
    samples = None if cost is None else _power_law(at, c, c - cost(n), c - cost(n_draws), level)
    return Allocation(size, samples, _loss_law(np.exp(c), v, v_draws, level), cost)


def _power_law(at: float, c: Array, value: Array, draws: Array, level: float) -> PowerLaw:
    line = np.linalg.pinv(np.stack([np.ones_like(c), c - np.log(at)], axis=1))
    return PowerLaw(at, line @ value, draws @ line.T, level)


def _loss_law(flops: Array, v: Array, draws: Array, level: float) -> LossLaw | None:
    if shortage(form_named("power_floor"), flops):
        return None
    found = fit(flops, np.exp(v), "power_floor")
    return LossLaw(found, refit(found, flops, draws, np.ones_like(draws)), level)


@dataclass(frozen=True)
class Agreement:
    """Of two routes to one optimum, first less second."""

    exponent: Interval
    size: Interval
    """ln N* at ``at``."""
    at: float
    p: float
    """Of no difference in either, by the distance of the draws from their middle."""
    sentence: str


def agreement(first: PowerLaw, second: PowerLaw) -> Agreement:
    """Whether two N*(C) agree. Draw b of one must go with draw b of the other where both come from the same runs."""
    at = first.at
    shift = np.array([[1.0, np.log(at / second.at)], [0.0, 1.0]])
    gap, draws = first.log - shift @ second.log, first.draws - second.draws @ shift.T
    about = draws - draws.mean(0)
    spread = about.T @ about / (len(draws) - 1) + TIED**2 * np.eye(2)
    inverse = np.linalg.inv(spread)
    distance = np.einsum("bi,ij,bj->b", about, inverse, about)
    gap = np.where(np.abs(gap) < TIED, 0.0, gap)
    p = float((1 + np.count_nonzero(distance >= gap @ inverse @ gap)) / (1 + len(draws)))
    size, exponent = (Interval.of(gap[i], draws[:, i], first.level) for i in (0, 1))
    verdict = "The two routes agree" if p >= 1 - first.level else "The two routes disagree"
    sentence = (
        f"{verdict} (p = {p:.2g}): their exponents of N* differ by {exponent.value:+.3f} ({exponent.lo:+.3f} to "
        f"{exponent.hi:+.3f}), and N* at {wording.place('compute', at)} by a factor of {np.exp(size.value):.3g} "
        f"({np.exp(size.lo):.3g} to {np.exp(size.hi):.3g})."
    )
    return Agreement(exponent, size, at, p, sentence)
