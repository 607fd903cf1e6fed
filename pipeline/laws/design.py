"""Design: which trials to run next, so that the place of the crossover is known best for the compute they cost.

The place where two laws cross is a function of their parameters, so its variance follows from their information matrix
(delta method), and a trial at x adds the square of the law's gradient there over the noise (Fedorov 1972, chapter 2:
c-optimal design). What is minimised is the mean over posterior draws of ln variance of ln x*, per FLOP: draws, because
the best place depends on the very parameters that are not known yet (Chaloner and Verdinelli 1995, section 5).
Trials are taken greedily, each with the information of those taken before it, by gain per FLOP and by rules that heed
the cost more or less; the batch that ends with the least variance is proposed.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.fit import Fit
from pipeline.laws.forms import Array

SPAN = 100.0
"""A crossing is looked for this factor beyond what was measured, on both sides."""
GRID = 400
USED = 200
"""Draws that are averaged over."""
RIDGE = 1e-6
"""Information on each parameter before any trial, so that too few trials do not make it infinite."""
THRIFT = (1.5, 1.0, 0.75, 0.5, 0.25, 0.0)
"""Exponents of cost that are tried: gain per FLOP alone would buy many small trials where one large one says more."""
NINETY = 2 * 1.645
"""Width of a 90 % interval, in standard deviations."""
LN10 = float(np.log(10.0))


@dataclass(frozen=True)
class Candidate:
    name: str
    family: str
    x: float
    """Its place on the axis."""


@dataclass(frozen=True)
class Side:
    """One family: its law, draws of the law's parameters [B, p], the trials so far and the noise of one in ln y."""

    family: str
    fit: Fit
    theta: Array
    x: Array
    noise: float


Cost = Callable[[Sequence[Candidate], Candidate], float]
"""(taken so far, the next) -> FLOPs it adds; trials that share a trunk cost less after one another."""


@dataclass(frozen=True)
class Pick:
    candidate: Candidate
    cost: float
    sd: float
    """Expected standard deviation of log10 of the crossing once this trial is in, too."""


@dataclass(frozen=True)
class Proposal:
    picks: list[Pick] = field(default_factory=list)
    sd: float = float("inf")
    """Expected standard deviation of log10 of the crossing as things are; of what is asked, in general."""
    crossing: float = 0.0
    """Share of draws in which the laws cross within the range searched."""
    stop: str = ""
    """Why no more is proposed, in a sentence."""
    asked: str = "crossing"
    """What is narrowed: crossing | gap (ln of the ratio of the laws where they are nearest, as they do not cross) |
    frontier (the laws at given places)."""

    @property
    def cost(self) -> float:
        return sum(pick.cost for pick in self.picks)


def propose(
    a: Side,
    b: Side,
    candidates: Sequence[Candidate],
    cost: Cost,
    budget: float,
    width: float = 0.0,
    most: int = 100,
    frontier: Sequence[float] = (),
) -> Proposal:
    """Trials that shrink the variance of ln x* most per FLOP, until ``budget`` FLOPs, ``most`` trials or ``width``.

    Where no draw crosses, that of the gap of the two laws where it is least. ``frontier`` gives places at which the
    laws themselves are asked for instead. ``width``: the wanted 90 % interval of the crossing, in decades from end to
    end. Raises BadInput for a budget that is not positive, costs that are not, and a candidate of neither family.
    """
    _check(a, b, candidates, budget)
    start = _State(a, b, candidates, np.array(frontier, dtype=float))
    plans = [_greedy(start.copy(), candidates, cost, budget, width, most, thrift) for thrift in THRIFT]
    return min(plans, key=lambda plan: plan.picks[-1].sd if plan.picks else plan.sd)


def _greedy(
    state: "_State", candidates: Sequence[Candidate], cost: Cost, budget: float, width: float, most: int, thrift: float
) -> Proposal:
    """Takes the best by gain / cost^thrift, one after another."""
    before, left = state.sd(), budget
    open_ = np.ones(len(candidates), dtype=bool)
    picks: list[Pick] = []
    while True:
        if stop := _enough(state.asked, state.sd(), width, len(picks), most, open_):
            break
        chosen = [pick.candidate for pick in picks]
        costs = np.array([cost(chosen, c) if o else np.inf for c, o in zip(candidates, open_, strict=True)])
        if not np.all(costs > 0):
            raise BadInput("A trial costs a positive number of FLOPs: mend the costs of the candidates.")
        payable = open_ & (costs <= left)
        if not payable.any():
            stop = "What is left of the budget pays for no candidate."
            break
        worth = np.where(payable, state.gains() / np.where(payable, costs, 1.0) ** thrift, -np.inf)
        best = int(worth.argmax())
        state.take(best)
        open_[best] = False
        left -= costs[best]
        picks.append(Pick(candidates[best], float(costs[best]), state.sd()))
    return Proposal(picks, before, state.share, stop, state.asked)


def _enough(asked: str, sd: float, width: float, taken: int, most: int, open_: np.ndarray) -> str:
    """Why to stop, in a sentence; empty to go on."""
    if width and asked == "crossing" and NINETY * sd <= width:
        return f"The interval is as narrow as wanted: {NINETY * sd:.2g} decades."
    if taken == most:
        return f"The batch is full with {most} trials."
    return "" if open_.any() else "Every candidate is taken."


class _State:
    """Information on both laws in every draw, as trials are taken."""

    def __init__(self, a: Side, b: Side, candidates: Sequence[Candidate], frontier: Array) -> None:
        sides = (a, b)
        keep, self.along = _crossings(a, b)
        self.share, self.asked = float(keep.mean()), "crossing"
        if len(frontier):
            keep, self.along, self.asked = np.ones_like(keep), _laws(a, b, frontier), "frontier"
        elif not keep.any():
            keep, self.along, self.asked = ~keep, _nearest(a, b), "gap"
        theta = [side.theta[:USED][keep] for side in sides]
        self.inverse = [_inverse(side, t) for side, t in zip(sides, theta, strict=True)]
        self.noise = (a.noise, b.noise)
        x = np.array([c.x for c in candidates])
        self.at = np.array([0 if c.family == a.family else 1 for c in candidates], dtype=int)
        self.gradient = [
            _gradient(side, t, x[self.at == i]) for i, (side, t) in enumerate(zip(sides, theta, strict=True))
        ]
        """[B, p, c] of the candidates of each family, in their order."""
        self.removed = [self._removed(i) for i in (0, 1)]
        self.variance = self._variance()
        """[B, q] of each thing asked."""

    def copy(self) -> "_State":
        other = copy(self)
        other.inverse, other.removed = list(self.inverse), list(self.removed)
        return other

    def sd(self) -> float:
        """Of log10 x*, or of what is asked: the geometric mean over draws."""
        return float(np.exp(0.5 * np.log(self.variance).mean()) / LN10)

    def gains(self) -> Array:
        """Mean fall of ln variance by each candidate [c]."""
        out = np.zeros(len(self.at))
        for i in (0, 1):
            share = np.minimum(self.removed[i] / self.variance[..., None], 1 - 1e-9)
            out[self.at == i] = -np.log1p(-share).mean((0, 1))
        return out

    def take(self, candidate: int) -> None:
        i = int(self.at[candidate])
        gradient = self.gradient[i][..., np.count_nonzero(self.at[:candidate] == i)]
        image = np.einsum("bpq,bq->bp", self.inverse[i], gradient)
        scale = self.noise[i] ** 2 + (gradient * image).sum(-1)
        self.inverse[i] = self.inverse[i] - image[:, :, None] * image[:, None, :] / scale[:, None, None]
        self.removed[i] = self._removed(i)
        self.variance = self._variance()

    def _removed(self, i: int) -> Array:
        """Variance that each candidate of side i would take away, [B, q, c] (Sherman and Morrison 1950)."""
        image = self.inverse[i] @ self.gradient[i]
        scale = self.noise[i] ** 2 + (self.gradient[i] * image).sum(1)
        return np.asarray((self.along[i] @ image) ** 2 / scale[:, None])

    def _variance(self) -> Array:
        parts = [((h @ m) * h).sum(-1) for h, m in zip(self.along, self.inverse, strict=True)]
        return np.maximum(parts[0] + parts[1], 1e-12)


def _crossings(a: Side, b: Side) -> tuple[np.ndarray, list[Array]]:
    """Which draws cross, and d ln x* / d theta of each side in those, [B, 1, p]."""
    x, gap = _gap(a, b, SPAN)
    falls = gap[:, :-1] * gap[:, 1:] < 0
    keep = np.asarray(falls.any(1))
    last = GRID - 2 - np.argmax(falls[keep][:, ::-1], axis=1)
    rows = np.flatnonzero(keep)
    steep = (gap[rows, last + 1] - gap[rows, last]) / np.log(x[1] / x[0])
    slopes = []
    for side, sign in ((a, -1.0), (b, 1.0)):
        gradient = _gradient(side, side.theta[:USED][keep], x)
        slopes.append(sign * np.take_along_axis(gradient, last[:, None, None], -1)[..., 0] / steep[:, None])
    return keep, [slope[:, None, :] for slope in slopes]


def _nearest(a: Side, b: Side) -> list[Array]:
    """d gap / d theta of each side where the draw's laws are nearest, as far as they were measured."""
    x, gap = _gap(a, b, 1.0)
    at = np.abs(gap).argmin(1)
    found = [_gradient(side, side.theta[:USED], x) for side in (a, b)]
    return [np.take_along_axis(g, at[:, None, None], -1)[..., 0][:, None, :] for g in found]


def _laws(a: Side, b: Side, x: Array) -> list[Array]:
    """d ln y / d theta of both laws at x [n]: of each side [B, 2 n, p], zero for the other's."""
    found = [np.swapaxes(_gradient(side, side.theta[:USED], x), 1, 2) for side in (a, b)]
    blank = [np.zeros_like(g) for g in found]
    return [np.concatenate([found[0], blank[0]], 1), np.concatenate([blank[1], found[1]], 1)]


def _gap(a: Side, b: Side, span: float) -> tuple[Array, Array]:
    """Places as far as either was measured and ``span`` beyond, and ln a - ln b of the draws there."""
    places = np.concatenate([a.x, b.x])
    x = np.geomspace(places.min() / span, places.max() * span, GRID)
    return x, a.fit.log(x, a.theta[:USED]) - b.fit.log(x, b.theta[:USED])


def _gradient(side: Side, theta: Array, x: Array) -> Array:
    """d ln y / d theta at x [n]: [B, p, n]."""
    return side.fit.form.log(theta, (np.log(x) - side.fit.centre[0])[:, None])[1]


def _inverse(side: Side, theta: Array) -> Array:
    gradient = _gradient(side, theta, side.x)
    size = theta.shape[1]
    information = gradient @ np.swapaxes(gradient, 1, 2) / side.noise**2 + RIDGE * np.eye(size)
    return np.asarray(np.linalg.inv(information), dtype=np.float64)


def _check(a: Side, b: Side, candidates: Sequence[Candidate], budget: float) -> None:
    if not (np.isfinite(budget) and budget > 0):
        raise BadInput(f"The budget is a positive number of FLOPs, not {budget:g}.")
    for candidate in candidates:
        if candidate.family not in (a.family, b.family):
            raise BadInput(f"{candidate.name} is of {candidate.family}, neither {a.family} nor {b.family}.")
        if not (np.isfinite(candidate.x) and candidate.x > 0):
            raise BadInput(f"{candidate.name} lies at {candidate.x:g} on the axis: it must be positive.")
