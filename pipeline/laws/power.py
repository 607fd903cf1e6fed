"""Power: how well a grid of trials would place a crossover, by simulation, before any compute is spent.

Nothing is known yet, so two typical laws stand in for the families: floor + power law, apart enough in slope for a
crossing to be worth asking for. What counts is how far past the crossing the grid reaches, how many seeds
there are, and how much a run scatters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.laws.fit import Fit, fit, refit
from pipeline.laws.forms import Array

NOISE = (0.01, 0.02, 0.04)
"""Standard deviation of ln y of one run."""
SEEDS = (1, 3)
REACH = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Largest place of the grid over the crossing."""
STUDIES = 200
BEYOND = 100.0
"""A crossing is looked for up to this factor past the grid."""
LAWS = ((0.03, 0.5), (0.03, 0.3))
"""Floor and exponent of the family that is ahead after the crossing, and of the other."""
HEIGHT = 0.2
"""Of both where they cross."""


@dataclass(frozen=True)
class Chance:
    """Of a grid whose largest place is ``reach`` times the crossing."""

    reach: float
    noise: float
    seeds: int
    sd: float | None
    """Of log10 of the crossing where it is seen: half the distance of its 16th and 84th percentiles. None: seen in
    fewer than half of the studies."""
    ninety: float | None
    """90th percentile of its absolute error, in decades."""
    seen: float
    """Share of studies whose two laws cross, once, the right way round."""


def power_table(
    places: tuple[Array, Array],
    reach: Sequence[float] = REACH,
    noise: Sequence[float] = NOISE,
    seeds: Sequence[int] = SEEDS,
    seed: int = 0,
) -> list[Chance]:
    """Rows by reach, noise and seeds for grids of places (ln-even or not) of the two families. Deterministic."""
    top = max(float(p.max()) for p in places)
    rows = []
    for r in reach:
        at = top / r
        cells = [(s, k) for s in noise for k in seeds]
        found = [_laws(x, at, law, cells, seed + i) for i, (x, law) in enumerate(zip(places, LAWS, strict=True))]
        grid = np.geomspace(min(float(p.min()) for p in places), max(top, at) * BEYOND, 600)
        gap = found[0][0].log(grid, found[0][1]) - found[1][0].log(grid, found[1][1])
        error = (_falls(np.log10(grid), gap) - np.log10(at)).reshape(len(cells), STUDIES)
        rows += [_chance(r, s, k, e) for (s, k), e in zip(cells, error, strict=True)]
    return rows


def _laws(
    x: Array, at: float, law: tuple[float, float], cells: list[tuple[float, int]], seed: int
) -> tuple[Fit, Array]:
    """Least-squares fits to simulated means over seeds, STUDIES of each cell."""
    floor, exponent = law
    truth = floor + (HEIGHT - floor) * (x / at) ** -exponent
    found = replace(fit(x, truth), delta=np.inf)
    random = np.random.Generator(np.random.Philox(key=[seed, 17]))
    scale = np.repeat([s / np.sqrt(k) for s, k in cells], STUDIES)[:, None]
    values = np.log(truth) + scale * np.tile(random.standard_normal((STUDIES, len(x))), (len(cells), 1))
    return found, refit(found, x, values, np.ones_like(values))


def _falls(at: Array, gap: Array) -> Array:
    """Where each row of gaps falls through 0 for the last time; infinity where it does not."""
    falls = (gap[:, :-1] > 0) & (gap[:, 1:] <= 0)
    last = gap.shape[1] - 2 - np.argmax(falls[:, ::-1], axis=1)
    return np.where(falls.any(1), at[last], np.inf)


def _chance(reach: float, noise: float, seeds: int, error: Array) -> Chance:
    seen = np.isfinite(error)
    size = np.abs(error)
    if seen.mean() < 0.5:
        return Chance(reach, noise, seeds, None, None, float(seen.mean()))
    low, high = np.quantile(error[seen], (0.16, 0.84))
    ninety = float(np.quantile(size, 0.9, method="higher"))
    return Chance(
        reach, noise, seeds, float(high - low) / 2, ninety if np.isfinite(ninety) else None, float(seen.mean())
    )
