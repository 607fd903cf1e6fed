"""Coverage of the 90 % interval of a crossover, over laws, ranges, noise and seeds, by simulation.

OMP_NUM_THREADS=1 python -m benchmarks.crossover_coverage [studies] [--shared]

Two families, floor + power law, meet at D*. Each is run at 8 sizes from 1e4 to r D*, with 1 or 3 seeds, so that for
r < 1 the crossing lies past everything measured. The interval covers D* when the posterior there lies between its
tails. With --shared both families are fitted at once, with one floor, which they have. Every cell has random numbers of
its own.
"""

import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.coverage import fitted
from benchmarks.table import show
from pipeline.laws.forms import Array
from pipeline.laws.groups import fit_groups
from pipeline.laws.pair import Together
from pipeline.laws.reach import Reach, below, reach
from pipeline.laws.uncertainty.clusters import Clusters
from pipeline.laws.uncertainty.sample import Sample

LEVEL = 0.9
STAR = 1e6
FIRST, SIZES = 1e4, 8
LAWS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "equal floors": ((0.03, 0.17, 0.5), (0.03, 0.17, 0.3)),
    "floors apart": ((0.02, 0.18, 0.35), (0.08, 0.12, 0.35)),
    "steep": ((0.05, 0.15, 0.6), (0.08, 0.12, 0.3)),
    "near": ((0.03, 0.17, 0.4), (0.05, 0.15, 0.3)),
}
"""Floor, what the power law adds at D*, and exponent, of the family that passes and of the one that is passed."""
ENDS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISE = (0.01, 0.02, 0.04)
SEEDS = (1, 3)
STREAM = 20_261_201
"""Of the random numbers; the method was settled on others."""


def study(law: tuple[float, float, float], x: Array, noise: float, random: np.random.Generator, count: int) -> Reach:
    """``count`` studies of one family at x [n], fitted: how far each law bends at D*."""
    floor, part, exponent = law
    logs = np.log(x)[:, None]
    v = np.log(floor + part * (x / STAR) ** -exponent)
    moved = v + noise * random.standard_normal((count, len(x)))
    sample = fitted("power_floor", logs - logs.mean(0), moved - v.mean(), Clusters.of(logs, None, None))
    return reach(replace(sample, offset=float(v.mean())), np.log([[STAR]]) - logs.mean(0))


def passed(laws: str, end: float, noise: float, seeds: int, count: int, stream: int = STREAM) -> Array:
    """Probability, in each of ``count`` studies, that the one that passes is ahead at D*."""
    cell = zlib.crc32(f"{laws}/{end}/{noise}/{seeds}".encode())
    random = np.random.Generator(np.random.Philox(key=[stream, cell]))
    x = np.repeat(np.geomspace(FIRST, end * STAR, SIZES), seeds)
    a, b = (study(law, x, noise, random, count) for law in LAWS[laws])
    return below(a, b)[:, 0]


def passed_together(laws: str, end: float, noise: float, seeds: int, count: int, stream: int = STREAM) -> Array:
    """The same where one fit has the floor of both."""
    cell = zlib.crc32(f"{laws}, together/{end}/{noise}/{seeds}".encode())
    random = np.random.Generator(np.random.Philox(key=[stream, cell]))
    one = np.repeat(np.geomspace(FIRST, end * STAR, SIZES), seeds)
    x, group = np.tile(one, 2), np.repeat(["a", "b"], len(one))
    placed = np.column_stack([x, 1.0 + (group == "b")])
    v = np.concatenate([np.log(floor + part * (one / STAR) ** -exponent) for floor, part, exponent in LAWS[laws]])
    out = np.empty(count)
    for i in range(count):
        y = np.exp(v + noise * random.standard_normal(len(v)))
        found = fit_groups(x, y, group.tolist(), "power_floor", ["E"])
        out[i] = Together(found, Sample.of(found.joint, placed, y), "a", "b").below(np.array([STAR]))[0]
    return out


def covered(p: Array, level: float = LEVEL) -> float:
    return float(np.mean((p >= 0.5 * (1 - level)) & (p <= 0.5 * (1 + level))))


def rows(count: int, shared: bool = False) -> Iterator[list[str]]:
    for laws in ("equal floors",) if shared else LAWS:
        for end in ENDS:
            of = passed_together if shared else passed
            cells = [covered(of(laws, end, noise, seeds, count)) for noise in NOISE for seeds in SEEDS]
            yield [laws, f"{end:g}", *(f"{100 * cell:.1f}" for cell in cells)]


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--shared"]
    amount = int(words[0]) if words else 1000
    head = ["laws", "r", *(f"s={noise:g} k={seeds}" for noise in NOISE for seeds in SEEDS)]
    table = list(rows(amount, "--shared" in sys.argv))
    show(head, table)
    every = np.array([float(cell) for row in table for cell in row[2:]])
    outside = int(np.count_nonzero((every < 85) | (every > 95)))
    error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / amount)
    print(
        f"{len(every)} cells: {every.min():.1f} to {every.max():.1f} %, mean {every.mean():.1f} %; {outside} outside ",
        end="",
    )
    print(f"85 to 95 %; standard error of a cell {error:.1f}.")
