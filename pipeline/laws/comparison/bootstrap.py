"""Bootstrap: what else the study could have measured, and the law each time.

Every draw moves whole runs: all points of one arch and seed together by the seed-to-seed scatter, and each cell of
runs by its scatter about the law, both with the Student correction for few degrees of freedom. Then the frontier is
taken anew and the law fitted anew. Points are moved, not resampled with replacement, because studies have 4 to 12
places on a frontier and a resample would often hold fewer than the law has parameters (Cameron, Gelbach and Miller
2008 for few clusters). Draws depend only on the seed, the family, the axis and the points, not on their order nor on
other families; draw b of one family goes with draw b of another.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from pipeline.laws.comparison.frontier import Frontier
from pipeline.laws.comparison.noise import Noise
from pipeline.laws.fit import Fit, refit
from pipeline.laws.forms import Array
from pipeline.laws.points import distinct

DRAWS = 1000
FURTHEST = 12.0
"""In ln y. With one degree of freedom Student draws know no end, and numbers do."""


@dataclass(frozen=True)
class Draws:
    """``theta`` [B, p] in the coordinates of the fit; ``replaced`` counts draws whose frontier had too few places."""

    theta: Array
    replaced: int


def bootstrap(found: Fit, edge: Frontier, fitted: np.ndarray, noise: Noise, draws: int, seed: int, key: str) -> Draws:
    """``fitted`` [c] marks the cells the fit used. ``key`` names the law, so that each has its own random numbers."""
    cells = edge.cells
    x, runs = np.array([c.x for c in cells]), np.array([len(c.runs) for c in cells], dtype=float)
    observed = np.array([c.value for c in cells])
    truth = np.where(fitted, found.log(x), observed)
    values = truth + perturbations(edge, noise, draws, seed, key)
    kept = edge.kept(values)
    poor = ~_enough(kept, x, found.form.size)
    kept[poor] = fitted
    weights = np.where(kept, runs, 0.0)
    weights /= weights.sum(-1, keepdims=True) / kept.sum(-1, keepdims=True)
    return Draws(refit(found, x, values, weights), int(poor.sum()))


def perturbations(edge: Frontier, noise: Noise, draws: int, seed: int, key: str) -> Array:
    """What is added to the cell means (ln y), [B, c]."""
    cells = edge.cells
    random = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(key.encode())]))
    runs = np.array([len(c.runs) for c in cells], dtype=float)
    moved = noise.point / np.sqrt(runs) * random.standard_normal((draws, len(cells)))
    moved *= _student(random, noise.dof, draws)
    if noise.shift > 0:
        archs = sorted({c.arch for c in cells})
        size = {a: max(len(c.runs) for c in cells if c.arch == a) for a in archs}
        scale = noise.shift / np.sqrt([size[a] for a in archs])
        shifts = scale * random.standard_normal((draws, len(archs))) * _student(random, noise.shift_dof, draws)
        moved += shifts[:, [archs.index(c.arch) for c in cells]]
    return np.clip(moved, -FURTHEST, FURTHEST)


def _student(random: np.random.Generator, dof: int, draws: int) -> Array:
    """Factors [B, 1] that turn Gaussian draws into Student's: the noise itself is only known so well."""
    return np.sqrt(dof / random.chisquare(dof, (draws, 1)))


def _enough(kept: np.ndarray, x: Array, parameters: int) -> np.ndarray:
    """Which draws [B] have more places than parameters."""
    order = np.argsort(x, kind="stable")
    if distinct(x) == len(x):
        return kept.sum(-1) > parameters
    group = np.concatenate([[0], np.cumsum(np.diff(np.log(x[order])) > 1e-6)])
    present = np.zeros((len(kept), group[-1] + 1), dtype=bool)
    for column, g in zip(order, group, strict=True):
        present[:, g] |= kept[:, column]
    return present.sum(-1) > parameters
