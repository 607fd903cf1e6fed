"""Shifts: the spread of a law of a study, where runs move as a whole besides each of their points by itself."""

import numpy as np

from pipeline.laws.comparison.noise import Noise
from pipeline.laws.forms import Array
from pipeline.laws.uncertainty.pseudo import Pseudo
from pipeline.laws.uncertainty.sample import Sample
from pipeline.laws.uncertainty.spread import Spread
from pipeline.laws.uncertainty.trend import Trend

EFFICIENCY = 0.95
"""Of Huber's loss under Gaussian noise (Huber 1981, section 4.5)."""


def spread_of(sample: Sample, gradient: Array, noise: Noise, seeds: Array) -> Spread:
    """Of a law fitted to means over ``seeds`` [n] runs, which are also the weights; ``gradient`` [S, p, k].

    ``noise`` is known from more than these points. ``sample.clusters.run`` names the arch of each point, whose places
    move together. Degrees of freedom are Satterthwaite's of the two parts.
    """
    pseudo = Pseudo.of(sample, gradient, noise.point / np.sqrt(seeds)[None])
    along = pseudo.basis @ pseudo.direction * np.sqrt(pseudo.bend)[..., None]
    own = noise.point**2 / seeds.mean() * (along**2).sum(1) / EFFICIENCY
    shifts = np.zeros_like(own)
    for arch in range(len(sample.clusters.runs)):
        mine = sample.clusters.run == arch
        together = (along[:, mine] * np.sqrt(sample.w[mine])[:, None]).sum(1)
        shifts += together**2 * noise.shift**2 / seeds[mine].max()
    variance = own + shifts
    apart = own**2 / noise.dof + shifts**2 / max(1, noise.shift_dof)
    dof = np.where(apart > 0, variance**2 / np.maximum(apart, 1e-300), noise.dof)
    unit = (pseudo.direction**2).sum(1) / pseudo.flat[:, None]
    size = np.array([float(np.hypot(noise.point, noise.shift))])
    return Spread(variance, dof, unit, size, dof[:, 0], Trend.even(sample.u))
