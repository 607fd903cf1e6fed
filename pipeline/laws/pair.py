"""Pair: two laws to be compared. Fitted apart their errors are independent; fitted together they share some."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.groups import GroupFit
from pipeline.laws.multiplier import Multiplier, level_of, multiplier
from pipeline.laws.reach import Curve, mixed_below, without_bound
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.spread import Spread, spread
from pipeline.laws.uncertainty.student import quantile

Ranges = tuple[tuple[float, float], tuple[float, float]]
"""First and last x of a, and of b."""
STEP = 1e-4
"""In ln x, over which slopes are taken."""


class Pair(Protocol):
    def gap(self, x: Array) -> Array:
        """ln a - ln b at x [n]."""
        ...

    def below(self, x: Array) -> Array:
        """Probability that a lies below b at x [n]."""
        ...

    def ratio(self, ranges: Ranges, level: float) -> Multiplier | None:
        """x of a over x of b at equal metric; see ``multiplier``."""
        ...

    def turned(self) -> "Pair":
        """b and a."""
        ...


@dataclass(frozen=True)
class Apart:
    """Of two independent fits: by the profiles of both."""

    a: Curve
    b: Curve

    def gap(self, x: Array) -> Array:
        return self.a.middle(x) - self.b.middle(x)

    def below(self, x: Array) -> Array:
        return mixed_below(self.a, self.b, x)

    def ratio(self, ranges: Ranges, level: float) -> Multiplier | None:
        return multiplier(self.a, self.b, ranges, level)

    def turned(self) -> "Apart":
        return Apart(self.b, self.a)


@dataclass(frozen=True)
class Together:
    """Of two groups of one fit with shared parameters: what moves both curves moves no crossing.

    The variance of the gap is that of one linear function of all parameters (Student's t at every place, which for
    straight lines is Fieller's interval of the crossing), that of a ratio likewise.
    """

    found: GroupFit
    sample: Sample
    """The points of all groups."""
    a: str
    b: str

    def gap(self, x: Array) -> Array:
        return self._log(self.a, x)[0] - self._log(self.b, x)[0]

    def below(self, x: Array) -> Array:
        from scipy.special import stdtr

        known = self._spread(self._log(self.a, x)[1] - self._log(self.b, x)[1])
        return stdtr(known.dof[0], -self.gap(x) / np.sqrt(np.maximum(known.variance[0], 1e-300)))

    def ratio(self, ranges: Ranges, level: float) -> Multiplier | None:
        met = level_of((self._middle(self.a), self._middle(self.b)), ranges)
        if not met:
            return None
        moved = [self._moved(name, place) for name, place in zip((self.a, self.b), met.places, strict=True)]
        known, best = self._spread(moved[0] - moved[1]), met.places[0] - met.places[1]
        half = float((quantile(known.dof, level) * np.sqrt(known.variance))[0, 0])
        lo, hi = (float(np.exp(best + by)) if half < met.width else None for by in (-half, half))
        return Multiplier(float(np.exp(best)), lo, hi, met.at)

    def turned(self) -> "Together":
        return Together(self.found, self.sample, self.b, self.a)

    def _middle(self, name: str) -> Callable[[Array], Array]:
        return lambda x: self._log(name, x)[0]

    def _moved(self, name: str, place: float) -> Array:
        """How far each parameter moves the ln x at which a curve reaches its level, [P, 1]."""
        slope = np.diff(self._log(name, np.exp(place + STEP * np.array([-0.5, 0.5])))[0])[0] / STEP
        return -self._log(name, np.exp(np.array([place])))[1] / min(slope, -1e-12)

    def _log(self, name: str, x: Array) -> tuple[Array, Array]:
        """ln y [n], and its gradient by all parameters [P, n]."""
        u = np.log(self.found.placed(name, x)) - self.sample.centre
        value, gradient = self.sample.form.log(self.sample.theta, u)
        return value[0] + self.sample.offset, gradient[0]

    def _spread(self, gradient: Array) -> Spread:
        return without_bound(self.sample, spread(self.sample, gradient[None]))
