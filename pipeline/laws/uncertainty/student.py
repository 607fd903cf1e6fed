"""Student: how many standard errors an interval takes, when the standard error is itself estimated."""

import numpy as np

from pipeline.laws.forms import Array

LEVEL = 0.95
MANY = 100
"""Squares from which on Satterthwaite's degrees of freedom serve."""
NODES = 20
STEPS = 8


def quantile(dof: Array, level: float) -> Array:
    """Student's, two-sided."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(dof, 0.5 + 0.5 * level), dtype=float)


def equivalent(covariance: Array) -> Array:
    """Degrees of freedom [...] of the Student's t with the same 95 % interval, where the variance has been estimated
    by a sum of squares of means 0 and this ``covariance`` [..., m, m], of trace 1 (0 counts as one square).

    Satterthwaite's are too few where one square outweighs the others. P(z^2 > q^2 sum part x chi^2), the parts being
    eigenvalues, is an integral over an angle, by Craig's formula for the tail of a Gaussian (1991) and the moment
    generating function of chi^2; it is convex in q, so that Newton's steps approach from below.
    """
    from scipy.special import stdtridf

    if covariance.shape[-1] > MANY:
        return 1.0 / np.maximum((covariance**2).sum((-2, -1)), 1e-12)
    parts = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
    parts[..., -1] += np.maximum(0.0, 1.0 - parts.sum(-1))  # no square at all is as good as one
    sine = np.sin((np.arange(NODES) + 0.5) * 0.5 * np.pi / NODES) ** 2
    q = np.full(parts.shape[:-1], 1.96)
    for _ in range(STEPS):
        tail, slope = np.zeros_like(q), np.zeros_like(q)
        for s in sine:
            ratio = 1.0 + q[..., None] ** 2 * parts / s
            each = np.exp(-0.5 * np.log(ratio).sum(-1))
            tail, slope = tail + each, slope - each * (1.0 - 1.0 / ratio).sum(-1) / q
        q = q - (tail - NODES * (1.0 - LEVEL)) / slope
    return np.asarray(stdtridf(0.5 + 0.5 * LEVEL, q), dtype=float)
