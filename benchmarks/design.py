"""Design: the variance of log10(crossover) after planned trials, against an even grid of the same FLOPs.

OMP_NUM_THREADS=1 python -m benchmarks.design

Two families, floor + power law, that cross at x*. A trial at x costs x (training compute grows with the data at fixed
epochs). Both designs begin with the same pilot of small trials and then spend the same compute: the even grid on
log-evenly spaced places up to the largest allowed, as many for both families; the planner in three rounds with a new
fit before each. The variance is that of the estimate over simulated studies, between its 16th and 84th percentiles.
"""

import numpy as np

from benchmarks.table import show
from pipeline.laws.design import Candidate, Side, propose
from pipeline.laws.fit import Fit, fit, nearby

STUDIES = 150
ROUNDS = 3
PILOT = np.geomspace(1e4, 1e5, 5)
CASES = [
    ("crosses early", 3e5, 0.02),
    ("crosses midway", 1e6, 0.02),
    ("crosses late", 3e6, 0.02),
    ("noisy", 1e6, 0.04),
]
LARGEST = 1e7
GRID = 6
"""Places of each family in the even grid."""


def truth(family: str, x: np.ndarray, at: float) -> np.ndarray:
    """ln y: b is better before ``at`` and has the smaller exponent."""
    floor, exponent = (0.08, 0.45) if family == "a" else (0.10, 0.25)
    height = 0.30 + 0.05 * np.log10(at / 1e6)
    other = height - 0.10
    top = (height if family == "b" else other + 0.12 - floor) - (0.10 if family == "b" else 0.0)
    return np.log(floor + (top if family == "b" else other + 0.02) * (x / at) ** -exponent)


class Study:
    def __init__(self, at: float, noise: float, seed: int) -> None:
        self.at, self.noise, self.random = at, noise, np.random.default_rng(seed)
        self.x: dict[str, list[float]] = {"a": [], "b": []}
        self.v: dict[str, list[float]] = {"a": [], "b": []}
        for x in PILOT:
            for family in "ab":
                self.run(family, float(x))

    def run(self, family: str, x: float) -> None:
        self.x[family].append(x)
        value = truth(family, np.array([x]), self.at)[0] + self.noise * self.random.standard_normal()
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


def even(study: Study) -> float:
    places = np.geomspace(PILOT[-1] * 1.5, LARGEST, GRID)
    for x in places:
        for family in "ab":
            study.run(family, float(x))
    return 2 * float(places.sum())


def planned(study: Study, budget: float) -> float:
    places = np.geomspace(PILOT[0], LARGEST, 24)
    candidates = [Candidate(f"{f} {x:.3g} #{k}", f, float(x)) for f in "ab" for x in places for k in range(3)]
    spent = 0.0
    for round_ in range(ROUNDS):
        share = (budget - spent) / (ROUNDS - round_)
        found = propose(study.side("a"), study.side("b"), candidates, lambda _, c: c.x, share)
        for pick in found.picks:
            study.run(pick.candidate.family, pick.candidate.x)
        spent += found.cost
    return spent


def spread(values: list[float]) -> float:
    lo, hi = np.quantile(values, [0.16, 0.84])
    return float((hi - lo) / 2) ** 2


def main() -> None:
    rows = []
    for name, at, noise in CASES:
        grid, plan, costs = [], [], []
        for seed in range(STUDIES):
            one, other = Study(at, noise, seed), Study(at, noise, seed + 10_000)
            budget = even(one)
            costs.append(planned(other, budget) / budget)
            grid.append(one.crossing())
            plan.append(other.crossing())
        ratio = spread(plan) / spread(grid)
        shown = [
            f"{np.sqrt(spread(grid)):.3f}",
            f"{np.sqrt(spread(plan)):.3f}",
            f"{ratio:.2f}",
            f"{np.mean(costs):.2f}",
        ]
        rows.append([name, f"{at:.0e}", f"{noise:g}", *shown])
    show(["case", "x*", "noise", "sd, even grid", "sd, planner", "variance ratio", "FLOPs ratio"], rows)


if __name__ == "__main__":
    main()
