"""y = E + A x^-alpha with E, alpha >= 0 (Hoffmann et al. 2022, section 3.3, on one axis; M2)."""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, fit_sum

EXPONENTS = [0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.2, 3.2]


class PowerFloor(Form):
    name = "power_floor"
    parameters = ("E", "A", "alpha")
    latex = r"E + A x^{-\alpha}"
    units = ("y", "y x^alpha", "1")
    bounds = (FLOOR, LOG_FACTOR, FALLING)

    @property
    def grid(self) -> Array:
        return np.array(EXPONENTS)[:, None]

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        x = u[..., 0]
        floor, a, alpha = theta[..., :1], theta[..., 1:2], theta[..., 2:]
        falling = np.exp(np.clip(a - alpha * x, -300.0, 300.0))
        total = floor + falling
        share = falling / total
        return np.log(total), np.stack([1.0 / total, share, -x * share], axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        alpha = (self.grid if grid is None else grid)[:, 0]
        power = -alpha[:, None] * u[:, None, :, 0]
        factor = fit_sum(np.stack([np.zeros_like(power), power], axis=-1), v, w)
        return np.stack([np.exp(factor[..., 0]), factor[..., 1], np.broadcast_to(alpha, factor.shape[:2])], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha = theta[..., 0], theta[..., 1], theta[..., 2]
        return np.stack([floor * np.exp(offset), np.exp(a + offset + alpha * centre[..., 0]), alpha], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha = params[..., 0], params[..., 1], params[..., 2]
        return np.stack([floor * np.exp(-offset), np.log(a) - offset - alpha * centre[..., 0], alpha], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        floor, a, alpha = theta[..., 0], theta[..., 1], theta[..., 2]
        above = np.exp(v) - floor
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (a - np.log(np.maximum(above, 1e-300))) / alpha
        return np.where((above > 0) & (alpha > 0), u, np.inf)
