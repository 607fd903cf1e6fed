"""Posterior: where one curve passes another for good, from the probability that it lies below at each place.

The probability that a lies below b at x is one minus the one-sided p-value of the gap's sign (``reach.below``), so the
places where it grows from 5 to 95 % are the 90 % confidence interval of the crossing (a confidence distribution,
Schweder and Hjort 2002; for straight lines it is Fieller's interval). Inside the range measured, a has passed for good
at x when it is below from there to the end of the range; past the range, once it is below anywhere from the end to x.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array

HORIZON = 100.0
"""How far past the last point a crossing is looked for, as a factor."""
NARROWEST = 1.05
"""A common stretch shorter than this factor is none."""
PLACES = 601
"""At which two laws are compared inside the range measured, and again past it."""
SHARES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
"""At which the posterior is written down."""
SLACK = 1e-9
"""In ln y, within which two curves are level."""


@dataclass(frozen=True)
class Span:
    """Where two laws are compared: ln x [g], and which of the places lie inside the range both were measured in."""

    grid: Array
    inside: np.ndarray

    @classmethod
    def of(cls, low: float, high: float, end: float | None = None) -> "Span":
        """From ``low`` to ``high``, both measured, and on to ``end`` (without one not further)."""
        inside = np.linspace(np.log(low), np.log(high), PLACES)
        past = np.linspace(np.log(high), np.log(end or high), PLACES)[1:] if end else inside[:0]
        return cls(np.append(inside, past), np.arange(len(inside) + len(past)) < len(inside))

    @property
    def x(self) -> Array:
        return np.exp(self.grid)


@dataclass(frozen=True)
class Posterior:
    """Of the place where a passes b."""

    span: Span
    passed: Array
    """Probability that a has passed b for good at each place of ``span``, never falling; [g]."""
    leads: tuple[float, float]
    """Probability that a, that b, is ahead all along the range measured."""
    ahead: tuple[float, float]
    """Probability that a, that b, is ahead at its end."""

    @classmethod
    def of(cls, span: Span, below: Array) -> "Posterior":
        """``below`` [g]: probability that a lies below b at each place of ``span``."""
        inside, past = below[span.inside], below[~span.inside]
        stays = np.minimum.accumulate(inside[::-1])[::-1]
        passed = np.append(stays, np.maximum(stays[-1], np.maximum.accumulate(past)))
        end = float(inside[-1])
        return cls(span, passed, (float(stays[0]), float(1.0 - inside.max())), (end, 1.0 - end))

    @classmethod
    def of_draws(cls, span: Span, gap: Array) -> "Posterior":
        """From draws of the gap ln a - ln b at the places of ``span``, all inside the range, [B, g]."""
        ahead = (gap < -SLACK).all(1)
        at = np.where(ahead, -np.inf, _last_fall(span.grid, gap))
        passed = (at[:, None] <= span.grid).mean(0)
        leads = (float(ahead.mean()), float((gap > SLACK).all(1).mean()))
        return cls(span, passed, leads, (float((gap[:, -1] < -SLACK).mean()), float((gap[:, -1] > SLACK).mean())))

    @property
    def in_range(self) -> float:
        """Probability that a passes b for good inside the range measured."""
        within = self.passed[self.span.inside]
        return float(within[-1] - within[0])

    @property
    def ever(self) -> float:
        """Probability that a passes b inside the range measured or past it as far as it was searched."""
        return float(self.passed[-1] - self.passed[0])

    @property
    def likelihood(self) -> float:
        """By which the two directions are compared: a crossing inside the range counts twice one past it."""
        return self.in_range + self.ever

    def quantile(self, share: float) -> float | None:
        """x by which a has passed with this probability; None where that lies outside the places searched."""
        if self.passed[0] > share or self.passed[-1] < share:
            return None
        i = int(np.searchsorted(self.passed, share))
        if i == 0:
            return float(np.exp(self.span.grid[0]))
        (p, q), (u, v) = self.passed[i - 1 : i + 1], self.span.grid[i - 1 : i + 1]
        return float(np.exp(u + (share - p) / max(q - p, 1e-300) * (v - u)))

    @property
    def quantiles(self) -> dict[str, float | None]:
        """x by which a has passed with each of ``SHARES``."""
        return {f"{share:g}": self.quantile(share) for share in SHARES}

    def interval(self, level: float) -> tuple[float | None, float | None]:
        """Equal-tailed; None at an end that the data do not bound inside the places searched."""
        return self.quantile(0.5 * (1 - level)), self.quantile(0.5 * (1 + level))


def middle(span: Span, gap: Array) -> float | None:
    """x where the gap ln a - ln b [g] of the two laws themselves falls through 0; None where it does not.

    For the last time inside the range, or where a is behind at its end, first past it.
    """
    inside = gap[span.inside]
    falls = (gap[:-1] > 0) & (gap[1:] <= 0)
    last = np.flatnonzero(falls[: len(inside) - 1]) if inside[-1] <= 0 else np.array([], dtype=int)
    first = np.flatnonzero(falls[len(inside) - 1 :]) + len(inside) - 1 if inside[-1] > 0 else last[::-1]
    if not len(first):
        return None
    i = int(first[0])
    share = gap[i] / (gap[i] - gap[i + 1])
    return float(np.exp(span.grid[i] + share * (span.grid[i + 1] - span.grid[i])))


def _last_fall(grid: Array, gap: Array) -> Array:
    """Where each row of gaps falls through 0 for the last time to stay below; infinity where it does not."""
    falls = (gap[:, :-1] > 0) & (gap[:, 1:] <= 0)
    index = gap.shape[1] - 2 - np.argmax(falls[:, ::-1], axis=1)
    rows = np.arange(len(gap))
    before, after = gap[rows, index], gap[rows, index + 1]
    share = before / np.where(before > after, before - after, 1.0)
    at = grid[index] + share * (grid[index + 1] - grid[index])
    return np.where(falls.any(1) & (gap[:, -1] < 0), at, np.inf)
