"""Coverage of nominal 95 % intervals: of the law and of a new run, inside the data and a decade beyond, by simulation.

python -m benchmarks.coverage [studies] [method,...] [stream]

Without arguments: the default method in all cases, the others and the ensemble in a few, on a stream of random numbers
on which nothing was tuned.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import coverage_ensemble
from benchmarks.table import show
from pipeline.laws.forms import Array, form_named
from pipeline.laws.problem import Problem, best_of
from pipeline.laws.uncertainty.clusters import Clusters
from pipeline.laws.uncertainty.interval import bounds, new_run
from pipeline.laws.uncertainty.sample import Sample

LEVEL = 0.95
SEEDS = 2
STUDIES = 2000
BLOCK = 100
"""Studies at once."""
DRAWS = 200
"""Of each bootstrap. Few, so that the interval of a study is a little off, and its coverage with it by half a point."""
BOOTSTRAPPED = 500
"""Studies of the bootstraps, which cost ``DRAWS`` fits each."""
METHODS = ("profile", "delta", "wild", "run", "ensemble")
TUNED, REPORTED = 1, 2
"""Streams of random numbers: what has a constant was tuned on the first, and the table comes from the second."""
NOISE = {
    "even .02": "each run on its own, the same everywhere",
    "shared .02": "half of the variance common to the seeds of a configuration, as where the law does not quite hold",
    "falling .02": "twice as much at the smallest place, half as much at the largest",
}
CHECKPOINTED = {
    "run .02": "four fifths of the variance common to all checkpoints of a run",
    "falling .02": "each checkpoint on its own",
}


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


SINGLE = {
    **{f"power_floor, {n}": Case.curve(n) for n in (9, 16, 25)},
    **{f"chinchilla, {k * k}": Case.surface(k, k) for k in (3, 4, 5)},
}
CHECKPOINTS = {
    **{f"power_floor, {n} of 6 checkpoints": Case.curve(n, checkpoints=6) for n in (9, 16, 25)},
    **{f"chinchilla, {n} of 5 checkpoints": Case.surface(n, 5, checkpoints=True) for n in (9, 16, 25)},
}
BOUND = {"power_floor without a floor, 16": replace(Case.curve(16), params=(1e-12, 1e3**0.4, 0.4))}
"""The true floor lies on its bound, where the theory of intervals does not hold."""
CASES = SINGLE | CHECKPOINTS | BOUND
COMPARED = (
    ("power_floor, 9", "even .02"),
    ("chinchilla, 16", "even .02"),
    ("chinchilla, 9 of 5 checkpoints", "run .02"),
)
"""Where methods other than the default are measured."""


def studies(case: Case, noise: str, count: int, stream: int, block: int = 0) -> tuple[Sample, Array, Array, Array]:
    """``count`` studies of two seeds a configuration, fitted.

    Returns the sample, ``at`` in its coordinates, the true curve there [k], and a new run there of each study [S, k].
    """
    form, random = form_named(case.form), np.random.Generator(np.random.Philox(key=[stream, block]))
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
    return fitted(case.form, u, v + moved - v.mean(), clusters), at, truth - v.mean(), new - v.mean()


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


def fitted(name: str, u: Array, v: Array, clusters: Clusters) -> Sample:
    """As ``fit`` does: by least squares, then by Huber's loss with delta from the scatter."""
    form = form_named(name)
    count, points = v.shape
    shape = (count, *u.shape)
    problem = Problem(np.broadcast_to(u, shape), v, np.ones_like(v), np.zeros((count, u.shape[1])), np.zeros(count))
    rough = best_of(form, problem, np.inf, tried=3).theta
    scatter = 1.4826 * np.median(np.abs(v - form.log(rough, u)[0]), axis=1) * np.sqrt(points / (points - form.size))
    delta = np.maximum(1e-3, 1.345 * scatter)
    theta = best_of(form, problem, delta, tried=3).theta
    return Sample(form, u, v, np.ones(points), theta, delta, 1.0, clusters, np.zeros(u.shape[-1]), 0.0)


def coverage(case: Case, noise: str, method: str, count: int, stream: int) -> tuple[Array, Array, Array]:
    """Shares covered of the mean and of a new run [k] (0 to 1), and the median width of the mean's interval [k]."""
    blocks = [_block(case, noise, method, min(BLOCK, count - at), stream, at) for at in range(0, count, BLOCK)]
    inside, new_inside, width = (np.concatenate(each) for each in zip(*blocks, strict=True))
    return inside.mean(0), new_inside.mean(0), np.median(width, axis=0)


def _block(
    case: Case, noise: str, method: str, count: int, stream: int, block: int
) -> tuple[np.ndarray, np.ndarray, Array]:
    """Of each study: whether the mean and a new run are inside [S, k], and the width."""
    sample, at, truth, new = studies(case, noise, count, stream, block)
    lo, hi, known = bounds(sample, at, method, LEVEL, DRAWS, stream)
    new_lo, new_hi = new_run(at, sample.form.log(sample.theta, at)[0], lo, hi, known, LEVEL)
    return (lo <= truth) & (truth <= hi), (new_lo <= new) & (new <= new_hi), hi - lo


def rows(method: str, count: int, stream: int) -> list[list[str]]:
    """Of the table: the default method in all cases, another in a few and with no more studies than it can afford."""
    if method == "ensemble":
        few = min(count, coverage_ensemble.STUDIES)
        truths = coverage_ensemble.TRUTHS.items()
        return [
            _row(name, "even .02", method, few, coverage_ensemble.coverage(truth, few, stream))
            for name, truth in truths
        ]
    few = min(count, BOOTSTRAPPED) if method in ("wild", "run") else count
    kinds = ((SINGLE, NOISE), (CHECKPOINTS, CHECKPOINTED), (BOUND, ("even .02",)))
    everywhere = [(name, noise) for cases, noises in kinds for name in cases for noise in noises]
    asked = everywhere if method == "profile" else COMPARED
    return [_row(n, noise, method, few, coverage(CASES[n], noise, method, few, stream)) for n, noise in asked]


def _row(name: str, noise: str, method: str, count: int, found: tuple[Array, Array, Array]) -> list[str]:
    mean, new, width = found
    shares = [" ".join(f"{100 * share:.1f}" for share in each) for each in (mean, new)]
    error = 100.0 * np.sqrt(LEVEL * (1.0 - LEVEL) / count)
    return [name, noise, method, str(count), *shares, f"{error:.1f}", " ".join(f"{w:.3f}" for w in width)]


if __name__ == "__main__":
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    chosen: Sequence[str] = sys.argv[2].split(",") if len(sys.argv) > 2 else METHODS
    given = int(sys.argv[3]) if len(sys.argv) > 3 else REPORTED
    header = [
        "law, configurations",
        "noise",
        "method",
        "studies",
        "curve: middle, end, decade",
        "new run",
        "s.e.",
        "width",
    ]
    for method in chosen:
        show(header, rows(method, amount, given))
        print(flush=True)
