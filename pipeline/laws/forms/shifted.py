"""y = E + A (x + d)^-alpha: a power law that levels off on both sides (Zhai et al. 2021, section 3.1)."""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.03, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0, 3.5]
SHIFTS = [-6.0, -4.0, -2.5, -1.5, -0.5, 0.5, 1.5, 3.0]
"""ln d, in units of the centre."""


class Shifted(Form):
    name = "shifted"
    parameters = ("E", "A", "alpha", "d")
    latex = r"E + A (x + d)^{-\alpha}"
    units = ("y", "y x^alpha", "1", "x")
    bounds = (FLOOR, LOG_FACTOR, FALLING, (0.0, 1e4))

    @property
    def grid(self) -> Array:
        return product(EXPONENTS, SHIFTS)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, a, alpha, d = (theta[..., i : i + 1] for i in range(4))
        moved = np.exp(u[..., 0]) + d
        place = np.log(moved)
        falling = np.exp(np.clip(a - alpha * place, -300.0, 300.0))
        total = floor + falling
        share = falling / total
        return np.log(total), np.stack([1.0 / total, share, -place * share, -alpha * share / moved], axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        alpha, shift = (self.grid if grid is None else grid).T
        place = np.logaddexp(u[:, None, :, 0], shift[:, None])
        power = -alpha[:, None] * place
        factor = fit_sum(np.stack([np.zeros_like(power), power], axis=-1), v, w)
        shape = factor.shape[:2]
        rest = [np.broadcast_to(alpha, shape), np.broadcast_to(np.exp(shift), shape)]
        return np.stack([np.exp(factor[..., 0]), factor[..., 1], *rest], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, d = (theta[..., i] for i in range(4))
        x0 = centre[..., 0]
        return np.stack([floor * np.exp(offset), np.exp(a + offset + alpha * x0), alpha, d * np.exp(x0)], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, d = (params[..., i] for i in range(4))
        x0 = centre[..., 0]
        return np.stack([floor * np.exp(-offset), np.log(a) - offset - alpha * x0, alpha, d * np.exp(-x0)], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        floor, a, alpha, d = (theta[..., i] for i in range(4))
        above = np.exp(v) - floor
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = np.exp((a - np.log(np.maximum(above, 1e-300))) / alpha) - d
            u = np.log(moved)
        return np.where((above > 0) & (alpha > 0), np.where(moved > 0, u, -np.inf), np.inf)
