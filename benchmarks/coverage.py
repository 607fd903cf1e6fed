"""Coverage of nominal 95 % intervals: of the law and of a new run, inside the data and a decade beyond, by simulation.

python -m benchmarks.coverage [studies] [method,...]
"""

import sys
from collections.abc import Sequence
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
"""Of each bootstrap. Few, so that the interval of a study is a little off, and its coverage with it by half a point."""
BOOTSTRAPPED = 200
"""Studies of the bootstraps, which cost ``DRAWS`` fits each."""
METHODS = ("profile", "delta", "wild", "run")
NOISE = {
    "even .01": "each run on its own, the same everywhere",
    "even .02": "the same, twice as large",
    "shared .02": "half of the variance common to the seeds of a configuration, as where the law does not quite hold",
    "falling .02": "twice as much at the smallest place, half as much at the largest",
}
CHECKPOINTED = {"run .02": "four fifths of the variance common to all checkpoints of a run"}


@dataclass(frozen=True)
class Case:
    """A law, the places of its configurations [configs, checkpoints, d], and where it is asked [k, d]."""

    form: str
    params: tuple[float, ...]
    x: Array
    at: Array

    @classmethod
    def curve(cls, configs: int, decades: float = 2.5, checkpoints: int = 1) -> "Case":
        """Floor and power over ``decades``, checkpoints over half a decade; asked in the middle, at the end and a
        decade beyond."""
        x = 1e3 * 10 ** np.linspace(0.0, decades, configs)
        before = 10 ** -np.linspace(0.0, 0.5, checkpoints)
        at = 1e3 * 10 ** np.array([decades / 2, decades, decades + 1])
        return cls("power_floor", (0.15, 1e3**0.4, 0.4), (x[:, None] * before)[..., None], at[:, None])

    @classmethod
    def surface(cls, sizes: int, amounts: int, checkpoints: bool = False) -> "Case":
        """The law of Hoffmann et al. as refitted by Epoch AI over two decades of N and of D.

        ``checkpoints`` makes the amounts of data those of one run. Asked in the middle, at the largest corner, and a
        decade beyond in both inputs.
        """
        n, d = np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(2e8, 2e10, amounts), indexing="ij")
        x = np.stack([n, d], axis=-1)
        at = np.array([[1e8, 2e9], [1e9, 2e10], [1e10, 2e11]])
        x = x if checkpoints else x.reshape(-1, 1, 2)
        return cls("chinchilla", (1.8172, 482.01, 0.3478, 2085.43, 0.3658), x, at)


CASES = {
    **{f"power_floor, {n}": Case.curve(n) for n in (9, 16, 25)},
    **{f"chinchilla, {k * k}": Case.surface(k, k) for k in (3, 4, 5)},
    "power_floor, 9 of 6 checkpoints": Case.curve(9, checkpoints=6),
    "chinchilla, 9 of 5 checkpoints": Case.surface(9, 5, checkpoints=True),
}


def studies(case: Case, noise: str, count: int, seed: int) -> tuple[Sample, Array, Array, Array]:
    """``count`` studies of two seeds a configuration, fitted.

    Returns the sample, ``at`` in its coordinates, the true curve there [k], and a new run there of each study [S, k].
    """
    form, random = form_named(case.form), np.random.Generator(np.random.Philox(key=[seed, 0]))
    configs, checkpoints, inputs = case.x.shape
    logs = np.log(np.repeat(case.x, SEEDS, axis=0)).reshape(-1, inputs)
    run = np.repeat(np.arange(configs * SEEDS), checkpoints)
    centre = logs.mean(0)
    theta = form.internal(np.array(case.params), centre, 0.0)
    u, at = logs - centre, np.log(case.at) - centre
    v, truth = form.log(theta, u)[0], form.log(theta, at)[0]
    moved, scale = _noise(noise, random, count, logs, run), _scale(noise, logs, np.log(case.at))
    new = truth + scale * random.standard_normal((count, len(truth)))
    clusters = Clusters.of(logs, [f"{r:03}" for r in run], None)
    return _fitted(case.form, u, v + moved - v.mean(), clusters), at, truth - v.mean(), new - v.mean()


def _noise(noise: str, random: np.random.Generator, count: int, logs: Array, run: np.ndarray) -> Array:
    kind, size = noise.split()
    own = random.standard_normal((count, len(run)))
    if kind in ("shared", "run"):
        group, common = (run // SEEDS, 0.5) if kind == "shared" else (run, 0.8)
        drawn = random.standard_normal((count, group.max() + 1))[:, group]
        return float(size) * (np.sqrt(common) * drawn + np.sqrt(1.0 - common) * own)
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


def rows(name: str, noise: str, count: int, methods: Sequence[str]) -> list[list[str]]:
    case, out, base = CASES[name], [], np.zeros(0)
    for method in methods:
        few = min(count, BOOTSTRAPPED) if method in ("wild", "run") else count
        mean, new, width = coverage(case, noise, method, few)
        base = base if len(base) else width
        cells = [" ".join(f"{100 * c:.1f}" for c in share) for share in (mean, new)]
        out.append([name, noise, method, *cells, " ".join(f"{w:.2f}" for w in width / base)])
    return out


if __name__ == "__main__":
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    chosen = sys.argv[2].split(",") if len(sys.argv) > 2 else METHODS
    header = ["law, configurations", "noise", "method", "curve: middle, end, decade", "new run", "width"]
    kinds = {name: CHECKPOINTED if "checkpoints" in name else NOISE for name in CASES}
    show(
        header, [row for name, noises in kinds.items() for noise in noises for row in rows(name, noise, amount, chosen)]
    )
