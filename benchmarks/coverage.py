"""Coverage of nominal 95 % intervals: of the law and of a new run, inside the data and a decade beyond, by simulation.

python -m benchmarks.coverage [studies]
"""

import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.table import show
from pipeline.laws.clusters import Clusters
from pipeline.laws.forms import Array, form_named
from pipeline.laws.interval import bounds, new_run
from pipeline.laws.problem import Problem, best_of
from pipeline.laws.sample import Sample

LEVEL = 0.95
SEEDS = 2
DRAWS = 200
"""Of each bootstrap. Few, so that the interval of a study is a little off, and coverage with it by about half a %."""
BOOTSTRAPPED = 200
"""Studies of the bootstraps, which cost ``DRAWS`` fits each."""
NOISE = {
    "even .01": "each run on its own, the same everywhere",
    "even .02": "",
    "shared .02": "half of the variance common to the seeds of a configuration, as where the law does not quite hold",
    "falling .02": "twice as much at the smallest place, half as much at the largest",
}


@dataclass(frozen=True)
class Case:
    """A law, the places of its configurations [n, d], and where it is asked [k, d]."""

    form: str
    params: tuple[float, ...]
    x: Array
    at: Array

    @classmethod
    def curve(cls, configs: int, decades: float = 2.5) -> "Case":
        """Floor and power over ``decades``; asked in the middle, at the end and a decade beyond."""
        x = 1e3 * 10 ** np.linspace(0.0, decades, configs)
        at = 1e3 * 10 ** np.array([decades / 2, decades, decades + 1])
        return cls("power_floor", (0.15, 1e3**0.4, 0.4), x[:, None], at[:, None])

    @classmethod
    def surface(cls, side: int) -> "Case":
        """The law of Hoffmann et al. as refitted by Epoch AI over two decades of N and of D, side x side.

        Asked in the middle, at the largest corner, and a decade beyond in both inputs.
        """
        n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, side), np.geomspace(2e8, 2e10, side)))
        at = np.array([[1e8, 2e9], [1e9, 2e10], [1e10, 2e11]])
        return cls("chinchilla", (1.8172, 482.01, 0.3478, 2085.43, 0.3658), np.stack([n, d], axis=1), at)


CASES = {
    **{f"power_floor, {n}": Case.curve(n) for n in (9, 16, 25)},
    **{f"chinchilla, {k * k}": Case.surface(k) for k in (3, 4, 5)},
}


def studies(case: Case, noise: str, count: int, seed: int) -> tuple[Sample, Array, Array, Array]:
    """``count`` studies of two seeds a configuration, fitted: the sample, ``at`` in its coordinates, the true curve
    there [k], and a new run there of each study [S, k]."""
    form, random = form_named(case.form), np.random.Generator(np.random.Philox(key=[seed, 0]))
    logs = np.log(np.repeat(case.x, SEEDS, 0))
    centre = logs.mean(0)
    theta = form.internal(np.array(case.params), centre, 0.0)
    u, at = logs - centre, np.log(case.at) - centre
    v, truth = form.log(theta, u)[0], form.log(theta, at)[0]
    moved, scale = _noise(noise, random, count, logs), _scale(noise, logs, np.log(case.at))
    new = truth + scale * random.standard_normal((count, len(truth)))
    sample = _fitted(case.form, u, v + moved - v.mean(), Clusters.of(logs, None, None))
    return sample, at, truth - v.mean(), new - v.mean()


def _noise(noise: str, random: np.random.Generator, count: int, logs: Array) -> Array:
    kind, size = noise.split()
    own = random.standard_normal((count, len(logs)))
    if kind == "shared":
        common = np.repeat(random.standard_normal((count, len(logs) // SEEDS)), SEEDS, axis=1)
        return float(size) * np.sqrt(0.5) * (own + common)
    return _scale(noise, logs, logs) * own


def _scale(noise: str, logs: Array, at: Array) -> Array:
    """Standard deviation at ``at``, not further down than at the largest place."""
    kind, size = noise.split()
    if kind != "falling":
        return np.full(len(at), float(size))
    total, first, last = at.sum(1), logs.sum(1).min(), logs.sum(1).max()
    return float(size) * 2.0 ** (1.0 - 2.0 * np.minimum(1.0, (total - first) / (last - first)))


def _fitted(name: str, u: Array, v: Array, clusters: Clusters) -> Sample:
    """As ``fit`` does: by least squares, then by Huber's loss with delta from the scatter."""
    form = form_named(name)
    count, points = v.shape
    shape = (count, *u.shape)
    problem = Problem(np.broadcast_to(u, shape), v, np.ones_like(v), np.zeros((count, u.shape[1])), np.zeros(count))
    rough = best_of(form, problem, np.inf, tried=3).theta
    scatter = 1.4826 * np.median(np.abs(v - form.log(rough, u)[0]), axis=1) * np.sqrt(points / (points - form.size))
    delta = np.maximum(1e-3, 1.345 * scatter)
    theta = best_of(form, problem, delta, tried=3).theta
    return Sample(form, u, v, np.ones(points), theta, delta, 1.0, clusters)


def coverage(case: Case, noise: str, method: str, count: int, seed: int = 1) -> tuple[Array, Array, Array]:
    """Shares covered of the mean and of a new run [k] (0 to 1), and the median width of the mean's interval [k]."""
    sample, at, truth, new = studies(case, noise, count, seed)
    lo, hi, known = bounds(sample, at, method, LEVEL, DRAWS, seed)
    new_lo, new_hi = new_run(at, sample.form.log(sample.theta, at)[0], lo, hi, known, LEVEL)
    inside, new_inside = (lo <= truth) & (truth <= hi), (new_lo <= new) & (new <= new_hi)
    return inside.mean(0), new_inside.mean(0), np.median(hi - lo, axis=0)


METHODS = tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 else ("profile", "delta", "wild", "run")


def rows(name: str, noise: str, count: int) -> list[list[str]]:
    out, base = [], np.zeros(0)
    for method in METHODS:
        few = min(count, BOOTSTRAPPED) if method in ("wild", "run") else count
        mean, new, width = coverage(CASES[name], noise, method, few)
        base = base if len(base) else width
        cells = [" ".join(f"{100 * c:.1f}" for c in share) for share in (mean, new)]
        out.append([name, noise, method, *cells, " ".join(f"{w:.2f}" for w in width / base)])
    return out


if __name__ == "__main__":
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    header = ["law, configurations", "noise", "method", "mean: middle, end, decade", "new run", "width / profile"]
    show(header, [row for name in CASES for noise in NOISE for row in rows(name, noise, amount)])
