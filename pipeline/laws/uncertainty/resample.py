"""Resample: what a fit could have been, had the study been run again.

``run`` is the cluster bootstrap: whole runs are taken again, each a Poisson number of times, never the checkpoints of
one run by themselves (Cameron, Gelbach and Miller 2008; Poisson counts so that each run has numbers of its own).
``wild`` keeps every place and turns the residuals of each configuration together by one of Webb's six weights (2014),
with the residuals freed of the fit's own leverage (HC3) and Student's factor for G - p degrees of freedom: for few
configurations, of which a resample would often hold too few. Random numbers belong to the seed and the name of the run
or configuration, so that draw b of one family goes with draw b of another which has the same configurations and seeds.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import BadInput, nearest
from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.leverage import free, leverage
from pipeline.laws.uncertainty.sample import Sample

METHODS = ("auto", "wild", "run")
FEW = 30
"""Up to so many configurations ``auto`` is ``wild``, which keeps every place; docs/coverage.md has what both cover."""
WEBB = np.array([-np.sqrt(1.5), -1.0, -np.sqrt(0.5), np.sqrt(0.5), 1.0, np.sqrt(1.5)])
TRIES = 20
"""Times a draw that holds too few places is drawn again."""


@dataclass(frozen=True)
class Resample:
    """``theta`` [B, p] in the coordinates of the fit; ``replaced`` draws held too few places and are the fit itself."""

    theta: Array
    method: str
    configs: int
    replaced: int


def resample(sample: Sample, method: str = "auto", draws: int = 1000, seed: int = 0) -> Resample:
    """Draws of theta of the first of the samples. Raises BadInput for an unknown method."""
    if method not in METHODS:
        raise BadInput(f"There is no bootstrap {method!r}: {nearest(method, METHODS)}")
    chosen = method if method != "auto" else "wild" if sample.clusters.count <= FEW else "run"
    theta, replaced = draw(sample, chosen, draws, seed)
    return Resample(theta[0], chosen, sample.clusters.count, replaced)


def draw(sample: Sample, method: str, draws: int, seed: int) -> tuple[Array, int]:
    """theta [S, B, p], and how many draws were replaced."""
    if method == "wild":
        return sample.solve(_turned(sample, draws, seed), sample.w[None, None]), 0
    counts, replaced = _counts(sample, draws, seed)
    return sample.solve(sample.v[:, None], (sample.w * counts)[None]), replaced


def _turned(sample: Sample, draws: int, seed: int) -> Array:
    """ln y of each draw, [S, B, n]."""
    clusters, root, fitted = sample.clusters, np.sqrt(sample.w), sample.value()
    residual = free(sample, ((sample.v - fitted) * root)[..., None], leverage(sample), 1.0)[..., 0] / root
    turns = WEBB[_by_name(clusters.configs, seed, "wild", lambda random: random.integers(0, 6, draws))]
    dof = max(1, clusters.count - sample.form.size if clusters.single else clusters.count - 1)
    student = np.sqrt(dof / _by_name(("",), seed, "student", lambda random: random.chisquare(dof, draws)))
    return fitted[:, None] + residual[:, None] * (turns * student)[clusters.config].T


def _counts(sample: Sample, draws: int, seed: int) -> tuple[Array, int]:
    """How many times each draw holds each point, [B, n]."""
    run = sample.clusters.run
    counts = _by_name(sample.clusters.runs, seed, "run", lambda random: random.poisson(1.0, (TRIES, draws)))
    places = np.unique(np.round(sample.u, 9), axis=0, return_inverse=True)[1]
    out, poor = np.zeros((draws, len(run))), np.ones(draws, dtype=bool)
    for attempt in range(TRIES):
        out[poor] = counts[run, attempt].T[poor]
        held = np.zeros((draws, places.max() + 1), dtype=bool)
        for point, place in enumerate(places):
            held[:, place] |= out[:, point] > 0
        poor = held.sum(-1) <= sample.form.size
        if not poor.any():
            break
    out[poor] = 1.0
    return out, int(poor.sum())


def _by_name(
    names: tuple[str, ...], seed: int, use: str, numbers: Callable[[np.random.Generator], np.ndarray]
) -> np.ndarray:
    """Random numbers of each name, whatever other names there are: [names, ...]."""
    return np.stack(
        [numbers(np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(f"{use}/{n}".encode())]))) for n in names]
    )
