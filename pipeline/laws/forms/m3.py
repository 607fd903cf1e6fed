"""y = b (1/x + g)^alpha: a power law with a floor inside the bracket (M3 of Alabdulmohsin et al. 2022, section 3)."""

import numpy as np

from pipeline.laws.forms.base import FALLING, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0, 3.5]
FLOORS = [-8.0, -5.0, -3.5, -2.0, -1.0, 0.0, 1.5]
"""ln g, in units of the centre."""


class M3(Form):
    name = "m3"
    parameters = ("b", "alpha", "g")
    latex = r"b (1/x + g)^{\alpha}"
    units = ("y x^alpha", "1", "1/x")
    bounds = (LOG_FACTOR, FALLING, (0.0, 1e4))

    @property
    def grid(self) -> Array:
        return product(EXPONENTS, FLOORS)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        b, alpha, g = (theta[..., i : i + 1] for i in range(3))
        inside = np.exp(-u[..., 0]) + g
        place = np.log(inside)
        return b + alpha * place, np.stack(np.broadcast_arrays(1.0, place, alpha / inside), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        alpha, floor = (self.grid if grid is None else grid).T
        power = alpha[:, None] * np.logaddexp(-u[:, None, :, 0], floor[:, None])
        factor = fit_sum(power[..., None], v, w)[..., 0]
        rest = [np.broadcast_to(alpha, factor.shape), np.broadcast_to(np.exp(floor), factor.shape)]
        return np.stack([factor, *rest], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        b, alpha, g = (theta[..., i] for i in range(3))
        x0 = centre[..., 0]
        return np.stack([np.exp(b + offset + alpha * x0), alpha, g * np.exp(-x0)], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        b, alpha, g = (params[..., i] for i in range(3))
        x0 = centre[..., 0]
        return np.stack([np.log(b) - offset - alpha * x0, alpha, g * np.exp(x0)], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        b, alpha, g = (theta[..., i] for i in range(3))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            above = np.exp((v - b) / alpha) - g
            return np.where((above > 0) & (alpha > 0), -np.log(np.maximum(above, 1e-300)), np.inf)
