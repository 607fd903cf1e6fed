"""y = A x^-alpha (Hestness et al. 2017; M1 of Alabdulmohsin et al. 2022)."""

import numpy as np

from pipeline.laws.forms.base import EXPONENT_LIMIT, LOG_FACTOR, Array, Form


class Power(Form):
    name = "power"
    parameters = ("A", "alpha")
    latex = r"A x^{-\alpha}"
    units = ("y x^alpha", "1")
    bounds = (LOG_FACTOR, (-EXPONENT_LIMIT, EXPONENT_LIMIT))

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        x = u[..., 0]
        value = theta[..., :1] - theta[..., 1:] * x
        return value, np.stack([np.ones_like(value), np.broadcast_to(-x, value.shape)], axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        x, total = u[..., 0], w.sum(-1)
        mean_x, mean_v = (w * x).sum(-1) / total, (w * v).sum(-1) / total
        gap = x - mean_x[:, None]
        slope = (w * gap * v).sum(-1) / np.maximum((w * gap * gap).sum(-1), 1e-300)
        return np.stack([mean_v - slope * mean_x, -slope], axis=-1)[:, None, :]

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        a, alpha = theta[..., 0], theta[..., 1]
        return np.stack([np.exp(a + offset + alpha * centre[..., 0]), alpha], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        a, alpha = params[..., 0], params[..., 1]
        return np.stack([np.log(a) - offset - alpha * centre[..., 0], alpha], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        a, alpha = theta[..., 0], theta[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(alpha > 0, (a - v) / alpha, np.inf)
