"""y = E + A (N^-alpha + R D^-beta)^k: model size and data coupled (the Skaling law of the simple-scaling-laws package).

With k = 1 it is Chinchilla's; k < 1 makes the two bottlenecks hide one another, k > 1 makes them worsen one another.
"""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.08, 0.18, 0.3, 0.5, 0.9, 1.6]
"""k alpha and k beta: the slopes of y itself."""
COUPLINGS = [0.3, 0.6, 1.0, 1.7, 3.0]
BALANCES = [-2.0, -0.7, 0.0, 0.7, 2.0]
"""k ln R, in units of the centre."""


class Skaling(Form):
    name = "skaling"
    parameters = ("E", "A", "alpha", "R", "beta", "k")
    inputs = ("N", "D")
    latex = r"E + A (N^{-\alpha} + R D^{-\beta})^{k}"
    units = ("y", "y N^(k alpha)", "1", "D^beta N^-alpha", "1", "1")
    bounds = (FLOOR, LOG_FACTOR, FALLING, LOG_FACTOR, FALLING, (0.02, 20.0))

    @property
    def grid(self) -> Array:
        slope_n, slope_d, k, balance = product(EXPONENTS, EXPONENTS, COUPLINGS, BALANCES).T
        return np.stack([slope_n / k, balance / k, slope_d / k, k], axis=-1)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, a, alpha, r, beta, k = (theta[..., i : i + 1] for i in range(6))
        n, d = u[..., 0], u[..., 1]
        by_n, by_d = -alpha * n, r - beta * d
        both = np.logaddexp(by_n, by_d)
        falling = np.exp(np.clip(a + k * both, -300.0, 300.0))
        total = floor + falling
        share = falling / total
        of_n, of_d = share * k * np.exp(by_n - both), share * k * np.exp(by_d - both)
        gradient = [1.0 / total, share, -n * of_n, of_d, -d * of_d, share * both]
        return np.log(total), np.stack(np.broadcast_arrays(*gradient), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        inner = self.grid if grid is None else grid
        alpha, r, beta, k = inner.T[..., None]
        power = k * np.logaddexp(-alpha * u[:, None, :, 0], r - beta * u[:, None, :, 1])
        factor = fit_sum(np.stack([np.zeros_like(power), power], axis=-1), v, w)
        rest = np.broadcast_to(inner, (*factor.shape[:2], 4))
        return np.concatenate([np.exp(factor[..., :1]), factor[..., 1:], rest], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, r, beta, k = (theta[..., i] for i in range(6))
        n, d = centre[..., 0], centre[..., 1]
        factors = np.exp(a + offset + k * alpha * n), np.exp(r + beta * d - alpha * n)
        return np.stack([floor * np.exp(offset), factors[0], alpha, factors[1], beta, k], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, r, beta, k = (params[..., i] for i in range(6))
        n, d = centre[..., 0], centre[..., 1]
        factors = np.log(a) - offset - k * alpha * n, np.log(r) - beta * d + alpha * n
        return np.stack([floor * np.exp(-offset), factors[0], alpha, factors[1], beta, k], axis=-1)
