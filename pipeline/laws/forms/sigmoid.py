"""y = chance + (top - chance) / (1 + e^(k (L - L0))): accuracy from loss (Bhagia et al. 2024, OLMo ladder).

The second step of a two-step prediction, from compute to loss to accuracy.
"""

import numpy as np

from pipeline.laws.forms.base import FLOOR, Array, Form, fit_sum, product

STEEPNESS = [0.4, 1.0, 2.0, 4.0, 8.0, 16.0]
"""k, in units of half the range of the losses."""
MIDDLES = [-2.0, -1.2, -0.8, -0.5, -0.2, 0.1, 0.4, 0.7, 1.0, 1.5]
"""L0, from the middle of the losses in units of half their range."""


class Sigmoid(Form):
    name = "sigmoid"
    parameters = ("chance", "top", "k", "L0")
    inputs = ("loss",)
    latex = r"c + \frac{t - c}{1 + e^{k (L - L_0)}}"
    units = ("y", "y", "1/loss", "loss")
    bounds = (FLOOR, (-14.0, 8.0), (-10.0, 10.0), (0.0, 1e3))
    """theta: chance, ln(top - chance), ln k and L0."""
    bounded = True

    @property
    def grid(self) -> Array:
        return product(STEEPNESS, MIDDLES)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, width, steep, middle = (theta[..., i : i + 1] for i in range(4))
        k, gap = np.exp(steep), np.exp(u[..., 0]) - middle
        share = 1.0 / (1.0 + np.exp(np.clip(k * gap, -300.0, 300.0)))
        range_ = np.exp(width)
        total = floor + range_ * share
        up = range_ * share / total
        along = up * (1.0 - share) * k
        gradient = [1.0 / total, up, -along * gap, along]
        return np.log(total), np.stack(np.broadcast_arrays(*gradient), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        steep, middle = (self.grid if grid is None else grid).T
        loss, used = np.exp(u[..., 0]), w > 0
        low, high = np.where(used, loss, np.inf).min(-1), np.where(used, loss, 0.0).max(-1)
        half = np.maximum(0.5 * (high - low), 1e-6)[:, None]
        k, place = steep / half, np.maximum(0.5 * (high + low)[:, None] + middle * half, 0.0)
        falling = -np.logaddexp(0.0, k[..., None] * (loss[:, None] - place[..., None]))
        factor = fit_sum(np.stack([np.zeros_like(falling), falling], axis=-1), v, w)
        return np.stack([np.exp(factor[..., 0]), factor[..., 1], np.log(k), place], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, width, steep, middle = (theta[..., i] for i in range(4))
        levels = floor * np.exp(offset), (floor + np.exp(width)) * np.exp(offset)
        return np.stack([*levels, np.exp(steep - centre[..., 0]), middle * np.exp(centre[..., 0])], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, top, k, middle = (params[..., i] for i in range(4))
        levels = floor * np.exp(-offset), np.log(top - floor) - offset
        return np.stack([*levels, np.log(k) + centre[..., 0], middle * np.exp(-centre[..., 0])], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        floor, width, steep, middle = (theta[..., i] for i in range(4))
        share = (np.exp(v) - floor) / np.exp(width)
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = middle + np.log((1.0 - share) / share) / np.exp(steep)
            u = np.log(np.maximum(loss, 0.0))
        return np.where(share <= 0, np.inf, np.where((share >= 1) | (loss <= 0), -np.inf, u))
