"""(y - E) / (C - y)^a = b x^-alpha: between a chance level C and a floor E.

M4 of Alabdulmohsin et al. 2022, section 4. With y = E + (C - E) s and z = logit s the left side is, in logarithms,
(1 - a) ln(C - E) - softplus(-z) + a softplus(z), which rises in z with a slope between 1 and a: Newton's method finds z
from any start. ``a`` = 0 is a power law with a floor, and so is C far above the data.
"""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, product

STEPS = 60


class M4(Form):
    name = "m4"
    parameters = ("E", "C", "b", "alpha", "a")
    latex = r"\frac{y - E}{(C - y)^{a}} = b x^{-\alpha}"
    units = ("y", "y", "y^(1-a) x^alpha", "1", "1")
    bounds = (FLOOR, (-6.0, 8.0), LOG_FACTOR, FALLING, (0.02, 12.0))
    bounded = True

    @property
    def grid(self) -> Array:
        """Share of the least y that is floor, ln of how far C lies above the largest y, and a."""
        return product([0.0, 0.4, 0.7, 0.9, 0.97, 0.995], [-4.0, -2.5, -1.0, 0.5, 2.0], [0.2, 0.6, 1.0, 2.0, 4.0])

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, width, b, alpha, a = (theta[..., i : i + 1] for i in range(5))
        x = u[..., 0]
        z = _logit(b - alpha * x - (1.0 - a) * width, a)
        up, _, share = _softplus(z)
        range_ = np.exp(width)
        total = floor + range_ * share
        per_z = range_ * share * (1.0 - share) / total
        slope = (1.0 - share) + a * share
        along = per_z / slope
        gradient = [
            1.0 / total,
            range_ * share / total - (1.0 - a) * along,
            along,
            -x * along,
            (width - up) * along,
        ]
        return np.log(total), np.stack(np.broadcast_arrays(*gradient), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """The equation is linear in ln b and alpha for given E, C and a."""
        below, above, a = (self.grid if grid is None else grid).T
        y, used = np.exp(v), w > 0
        least, most = np.where(used, y, np.inf).min(-1), np.where(used, y, 0.0).max(-1)
        floor = least[:, None] * np.minimum(below, 0.9999)
        chance = most[:, None] * (1.0 + np.exp(above))
        left = y[:, None, :]
        upper = np.log(np.maximum(chance[..., None] - left, 1e-9))
        side = np.log(np.maximum(left - floor[..., None], 1e-9)) - a[:, None] * upper
        per_v = left / np.maximum(left - floor[..., None], 1e-9) + a[:, None] * left / np.exp(upper)
        weight = w[:, None, :] / per_v**2
        x = u[:, None, :, 0]
        total = weight.sum(-1, keepdims=True)
        gap = x - (weight * x).sum(-1, keepdims=True) / total
        slope = (weight * gap * side).sum(-1) / np.maximum((weight * gap * gap).sum(-1), 1e-300)
        alpha = np.clip(-slope, 0.01, 4.9)
        b = ((weight * (side + alpha[..., None] * x)).sum(-1)) / total[..., 0]
        return np.stack([floor, np.log(chance - floor), b, alpha, np.broadcast_to(a, alpha.shape)], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, width, b, alpha, a = (theta[..., i] for i in range(5))
        scale = np.exp(offset)
        factor = np.exp(b + (1.0 - a) * offset + alpha * centre[..., 0])
        return np.stack([floor * scale, (floor + np.exp(width)) * scale, factor, alpha, a], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, chance, b, alpha, a = (params[..., i] for i in range(5))
        scale = np.exp(-offset)
        factor = np.log(b) - (1.0 - a) * offset - alpha * centre[..., 0]
        return np.stack([floor * scale, np.log((chance - floor) * scale), factor, alpha, a], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        floor, width, b, alpha, a = (theta[..., i] for i in range(5))
        y, chance = np.exp(v), floor + np.exp(width)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (b - np.log(y - floor) + a * np.log(chance - y)) / alpha
        return np.where(y <= floor, np.inf, np.where(y >= chance, -np.inf, u))


def _softplus(z: Array) -> tuple[Array, Array, Array]:
    """softplus(z), softplus(-z) and the logistic function of z, of one exponential."""
    small = np.exp(-np.abs(z))
    common = np.log1p(small)
    up = z > 0
    share = np.where(up, 1.0, small) / (1.0 + small)
    return np.where(up, z, 0.0) + common, np.where(up, 0.0, -z) + common, share


def _logit(side: Array, a: Array) -> Array:
    """z with -softplus(-z) + a softplus(z) = side."""
    z = np.where(side < 0, side, side / a)
    for _ in range(STEPS):
        above, below, share = _softplus(z)
        step = (a * above - below - side) / ((1.0 - share) + a * share)
        z = z - step
        if np.all(np.abs(step) < 1e-9 * (1.0 + np.abs(z))):  # the next step would be the square of this
            break
    return z
