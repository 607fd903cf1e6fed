"""Design: the variance of log10(crossover) after planned trials, against an even grid of the same FLOPs.

OMP_NUM_THREADS=1 python -m benchmarks.design

Two families, floor + power law, that cross at x*. A trial at x costs x (training compute), or, where trunks are shared,
what the longest trial of its seed does not cover: 20 % of x, its cool-down. Both designs begin with the same pilot of
small trials and then spend the same compute: the even grid on log-evenly spaced places up to the largest allowed, as
many for both families; the planner in three rounds with a new fit before each. The variance is that of the error over
simulated studies, between its 16th and 84th percentiles.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.table import show
from pipeline.laws.design import Candidate, Side, propose
from pipeline.laws.fit import Fit, fit, nearby

STUDIES = 100
ROUNDS = 3
PILOT = np.geomspace(1e4, 1e5, 5)
LARGEST = 1e7
ANYWHERE = (2e5, 5e6)
"""Between the pilot and the end of the grid, with a factor of two to either side; even in the logarithm."""
Laws = tuple[tuple[float, float], tuple[float, float]]
"""Floor and exponent of a, ahead after the crossing, and of b; both are ``HEIGHT`` there."""
HEIGHT = 0.2
PLAIN: Laws = ((0.03, 0.5), (0.03, 0.3))
FLAT: Laws = ((0.02, 0.35), (0.08, 0.35))
STEEP: Laws = ((0.05, 0.6), (0.08, 0.3))
CASES: list[tuple[str, Laws, float | None, float, float]] = [
    ("crosses anywhere", PLAIN, None, 0.02, 1.0),
    ("anywhere, noisy", PLAIN, None, 0.04, 1.0),
    ("anywhere, floors apart", FLAT, None, 0.02, 1.0),
    ("anywhere, steep", STEEP, None, 0.02, 1.0),
    ("anywhere, shared trunks", PLAIN, None, 0.02, 0.2),
    ("crosses early", PLAIN, 3e5, 0.02, 1.0),
    ("crosses midway", PLAIN, 1e6, 0.02, 1.0),
    ("crosses late", PLAIN, 3e6, 0.02, 1.0),
]
"""Name, laws, x* or None for anywhere, standard deviation of ln y, share of a trial that a longer one of its seed
leaves to pay."""
GRID = 6
"""Places of each family in the even grid."""
SEEDS = 3


def truth(law: tuple[float, float], x: np.ndarray, at: float) -> np.ndarray:
    """ln y."""
    floor, exponent = law
    return np.log(floor + (HEIGHT - floor) * (x / at) ** -exponent)


class Study:
    def __init__(self, at: float, noise: float, seed: int, laws: Laws = PLAIN) -> None:
        self.laws = dict(zip("ab", laws, strict=True))
        self.at, self.noise, self.random = at, noise, np.random.Generator(np.random.Philox(key=[seed, 3]))
        self.x: dict[str, list[float]] = {"a": [], "b": []}
        self.v: dict[str, list[float]] = {"a": [], "b": []}
        for x in PILOT:
            for family in "ab":
                self.run(family, float(x))

    def run(self, family: str, x: float) -> None:
        self.x[family].append(x)
        value = truth(self.laws[family], np.array([x]), self.at)[0] + self.noise * self.random.standard_normal()
        self.v[family].append(float(value))

    def law(self, family: str) -> Fit:
        return fit(self.x[family], np.exp(self.v[family]), "power_floor", delta=10.0)

    def side(self, family: str, draws: int = 100) -> Side:
        found, x = self.law(family), np.array(self.x[family])
        moved = found.log(x) + self.noise * self.random.standard_normal((draws, len(x)))
        return Side(family, found, nearby(found, x, moved, np.ones(len(x))), x, self.noise)

    def crossing(self) -> float:
        """log10 of where a passes b for good; the end of the search where it does not."""
        x = np.geomspace(1e3, 1e9, 4000)
        gap = self.law("a").log(x) - self.law("b").log(x)
        falls = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
        return float(np.log10(x[falls[-1]])) if len(falls) else 9.0


def cost(own: float, done: Sequence[Candidate], taken: Sequence[Candidate], c: Candidate) -> float:
    """FLOPs of a trial beside those of its trunk (family and seed); ``own`` is the share it cannot share."""
    trunk = c.name.split("/")[0]
    reached = max((t.x for t in [*done, *taken] if t.name.split("/")[0] == trunk), default=0.0)
    return own * c.x + (1 - own) * max(0.0, c.x - reached)


def even(study: Study, own: float = 1.0) -> float:
    places, taken, spent = np.geomspace(PILOT[-1] * 1.5, LARGEST, GRID), [], 0.0
    for family in "ab":
        for x in places:
            c = Candidate(f"{family}0/{x:.3g}", family, float(x))
            spent += cost(own, [], taken, c)
            taken.append(c)
            study.run(family, c.x)
    return spent


def planned(study: Study, budget: float, own: float = 1.0) -> float:
    places = np.geomspace(PILOT[0], LARGEST, 24)
    left = [Candidate(f"{f}{k}/{x:.3g}", f, float(x)) for f in "ab" for x in places for k in range(SEEDS)]
    done: list[Candidate] = []
    spent = 0.0
    for round_ in range(ROUNDS):
        share = (budget - spent) / (ROUNDS - round_)
        found = propose(study.side("a"), study.side("b"), left, partial(cost, own, done), share)
        for pick in found.picks:
            study.run(pick.candidate.family, pick.candidate.x)
            done.append(pick.candidate)
            left.remove(pick.candidate)
        spent += found.cost
    return spent


def spread(values: Sequence[float]) -> float:
    lo, hi = np.quantile(values, [0.16, 0.84])
    return float((hi - lo) / 2) ** 2


def case(name: str, laws: Laws, at: float | None, noise: float, own: float, studies: int = STUDIES) -> list[str]:
    random = np.random.Generator(np.random.Philox(key=[1, 5]))
    grid, plan, costs = [], [], []
    for seed in range(studies):
        place = at or float(np.exp(random.uniform(*np.log(ANYWHERE))))
        one, other = Study(place, noise, seed, laws), Study(place, noise, seed + 10_000, laws)
        budget = even(one, own)
        costs.append(planned(other, budget, own) / budget)
        grid.append(one.crossing() - np.log10(place))
        plan.append(other.crossing() - np.log10(place))
    shown = [f"{np.sqrt(spread(e)):.3f}" for e in (grid, plan)]
    where = f"{at:.0e}" if at else "2e5 to 5e6"
    return [name, where, f"{noise:g}", *shown, f"{spread(plan) / spread(grid):.2f}", f"{np.mean(costs):.2f}"]


if __name__ == "__main__":
    header = ["case", "x*", "noise", "sd, even grid", "sd, planner", "variance ratio", "FLOPs ratio"]
    show(header, [case(*one) for one in CASES])
