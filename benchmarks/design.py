"""Design: the variance of log10(crossover) after planned trials, against an even grid of the same FLOPs.

OMP_NUM_THREADS=1 python -m benchmarks.design [studies of each case, 200] [stream of random numbers, 2] [case]

Two families, floor + power law, that cross at x*. A trial at x costs x (training compute), or, where trunks are shared,
what the longest trial of its seed does not cover: 20 % of x, its cool-down. All designs begin with the same pilot of
small trials and then spend the same compute: the even grid on log-evenly spaced places up to the largest allowed, as
many for both families; the planner in batches that double, with a new fit before each; and, as the bound of what any
planner could do, the planner told the true laws, in one batch. All end with the same fit. The planner was tuned on
stream 77; the others were left alone.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.table import show
from pipeline.laws.batch import batch_size
from pipeline.laws.design import Candidate, Side, propose
from pipeline.laws.fit import Fit, fit, nearby

STUDIES = 200
STREAM = 2
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
PLACES = 24
GRID = 6
"""Places of each family in the even grid."""
SEEDS = 3
UNSEEN = 9.0
"""log10 x* of a study whose laws do not cross: the end of the search."""
RESAMPLED = 1000


@dataclass(frozen=True)
class Case:
    name: str
    laws: Laws = PLAIN
    at: float | None = None
    """x*; None: drawn from ANYWHERE."""
    noise: float = 0.02
    """Standard deviation of ln y."""
    own: float = 1.0
    """Share of a trial that a longer one of its seed leaves to pay."""


CASES = [
    Case("anywhere"),
    Case("anywhere, noisy", noise=0.04),
    Case("anywhere, floors apart", FLAT),
    Case("anywhere, steep", STEEP),
    Case("anywhere, shared trunks", own=0.2),
    Case("early", at=3e5),
    Case("midway", at=1e6),
    Case("late", at=3e6),
]


def truth(law: tuple[float, float], x: np.ndarray, at: float) -> np.ndarray:
    """ln y."""
    floor, exponent = law
    return np.log(floor + (HEIGHT - floor) * (x / at) ** -exponent)


class Study:
    """A simulated study of two families, a and b, with its pilot run. ``key``: of its random numbers, two integers."""

    def __init__(self, at: float, noise: float, key: tuple[int, int], laws: Laws = PLAIN) -> None:
        self.laws = dict(zip("ab", laws, strict=True))
        self.at, self.noise, self.random = at, noise, np.random.Generator(np.random.Philox(key=key))
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

    def known(self, family: str) -> Side:
        """The true law, without a doubt."""
        x = np.geomspace(PILOT[0], LARGEST, 20)
        found = fit(x, np.exp(truth(self.laws[family], x, self.at)), "power_floor", delta=10.0)
        return Side(family, found, found.theta[None], np.array(self.x[family]), self.noise)

    def crossing(self) -> float:
        """log10 of where a passes b for good."""
        x = np.geomspace(1e3, 1e9, 4000)
        gap = self.law("a").log(x) - self.law("b").log(x)
        falls = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
        return float(np.log10(x[falls[-1]])) if len(falls) else UNSEEN


class Price:
    """FLOPs of a trial beside those of its trunk (family and seed); ``own`` is the share it cannot share."""

    def __init__(self, own: float, done: Sequence[Candidate] = ()) -> None:
        self.own, self.done = own, done
        self.taken: Sequence[Candidate] | None = None
        self.reached: dict[str, float] = {}

    def __call__(self, taken: Sequence[Candidate], c: Candidate) -> float:
        if self.own == 1.0:
            return c.x
        if taken is not self.taken:
            self.taken, self.reached = taken, {}
            for t in (*self.done, *taken):
                self.reached[_trunk(t)] = max(t.x, self.reached.get(_trunk(t), 0.0))
        return self.own * c.x + (1 - self.own) * max(0.0, c.x - self.reached.get(_trunk(c), 0.0))


def _trunk(c: Candidate) -> str:
    return c.name[:2]


def even(study: Study, own: float = 1.0) -> float:
    """Runs the even grid; FLOPs."""
    cost, taken, spent = Price(own), [], 0.0
    for family in "ab":
        for x in np.geomspace(PILOT[-1] * 1.5, LARGEST, GRID):
            c = Candidate(f"{family}0/{x:.3g}", family, float(x))
            spent += cost(tuple(taken), c)
            taken.append(c)
            study.run(family, c.x)
    return spent


def planned(study: Study, budget: float, own: float = 1.0) -> float:
    """Runs batches that double, each planned by what is known; FLOPs."""
    left, done, spent = _places(), [], 0.0
    while size := batch_size(budget, spent):
        found = propose(study.side("a"), study.side("b"), left, Price(own, done), size)
        for pick in found.picks:
            study.run(pick.candidate.family, pick.candidate.x)
            done.append(pick.candidate)
            left.remove(pick.candidate)
        if size == budget - spent or not found.picks:
            return spent + found.cost
        spent += found.cost
    return spent


def told(study: Study, budget: float, own: float = 1.0) -> float:
    """Runs what is best to one who knows the laws; FLOPs."""
    found = propose(study.known("a"), study.known("b"), _places(), Price(own), budget)
    for pick in found.picks:
        study.run(pick.candidate.family, pick.candidate.x)
    return found.cost


def _places() -> list[Candidate]:
    places = np.geomspace(PILOT[0], LARGEST, PLACES)
    return [Candidate(f"{f}{k}/{x:.3g}", f, float(x)) for f in "ab" for x in places for k in range(SEEDS)]


def spread(errors: np.ndarray) -> float:
    """Variance between the 16th and 84th percentiles."""
    lo, hi = np.quantile(errors, [0.16, 0.84])
    return float((hi - lo) / 2) ** 2


def square(errors: np.ndarray) -> float:
    """Variance about the truth."""
    return float(np.mean(errors**2))


def simulate(case: Case, studies: int, stream: int) -> tuple[dict[str, np.ndarray], float]:
    """Errors of log10 x* [studies] of each design, and FLOPs of the planner over those of the even grid."""
    random = np.random.Generator(np.random.Philox(key=[stream, 5]))
    errors: dict[str, list[float]] = {"even": [], "planned": [], "told": []}
    costs = []
    for i in range(studies):
        at = case.at or float(np.exp(random.uniform(*np.log(ANYWHERE))))
        made = [Study(at, case.noise, (stream, 10 * i + arm), case.laws) for arm in range(len(errors))]
        budget = even(made[0], case.own)
        costs.append(planned(made[1], budget, case.own) / budget)
        told(made[2], budget, case.own)
        for study, found in zip(made, errors.values(), strict=True):
            found.append(study.crossing() - np.log10(at))
    return {name: np.array(found) for name, found in errors.items()}, float(np.mean(costs))


def ratio(of: Callable[[np.ndarray], float], a: np.ndarray, b: np.ndarray) -> str:
    """a over b, with the 90 % interval of a bootstrap over studies."""
    random = np.random.Generator(np.random.Philox(key=[0, 7]))
    drawn = [
        of(a[random.integers(0, len(a), len(a))]) / of(b[random.integers(0, len(b), len(b))]) for _ in range(RESAMPLED)
    ]
    lo, hi = np.quantile(drawn, [0.05, 0.95])
    return f"{of(a) / of(b):.2f} ({lo:.2f} to {hi:.2f})"


def row(case: Case, studies: int = STUDIES, stream: int = STREAM) -> list[str]:
    errors, costs = simulate(case, studies, stream)
    grid, plan, known = errors.values()
    where = f"{case.at:.0e}" if case.at else "2e5 to 5e6"
    deviations = [f"{np.sqrt(square(e)):.3f}" for e in (grid, plan)]
    ratios = [ratio(square, plan, grid), ratio(spread, plan, grid), f"{square(known) / square(grid):.2f}"]
    return [case.name, where, *deviations, *ratios, f"{costs:.2f}"]


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    chosen = [case for case in CASES if "".join(sys.argv[3:4]) in case.name]
    header = [
        "crosses",
        "x*",
        "sd, grid",
        "sd, planner",
        "variance ratio",
        "by percentiles",
        "laws known",
        "FLOPs ratio",
    ]
    show(header, [row(case, *given) for case in chosen])
