"""y = E + A N^-alpha + B D^-beta (Hoffmann et al. 2022, section 3.3)."""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.05, 0.12, 0.2, 0.28, 0.36, 0.45, 0.6, 0.8, 1.2, 2.0]


class Chinchilla(Form):
    name = "chinchilla"
    parameters = ("E", "A", "alpha", "B", "beta")
    inputs = ("N", "D")
    latex = r"E + A N^{-\alpha} + B D^{-\beta}"
    units = ("y", "y N^alpha", "1", "y D^beta", "1")
    bounds = (FLOOR, LOG_FACTOR, FALLING, LOG_FACTOR, FALLING)

    @property
    def grid(self) -> Array:
        return product(EXPONENTS, EXPONENTS)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, a, alpha, b, beta = (theta[..., i : i + 1] for i in range(5))
        n, d = u[..., 0], u[..., 1]
        by_n = np.exp(np.clip(a - alpha * n, -300.0, 300.0))
        by_d = np.exp(np.clip(b - beta * d, -300.0, 300.0))
        total = floor + by_n + by_d
        gradient = np.empty((*total.shape[:-1], 5, total.shape[-1]))
        np.divide(1.0, total, out=gradient[..., 0, :])
        np.multiply(by_n, gradient[..., 0, :], out=gradient[..., 1, :])
        np.multiply(-n, gradient[..., 1, :], out=gradient[..., 2, :])
        np.multiply(by_d, gradient[..., 0, :], out=gradient[..., 3, :])
        np.multiply(-d, gradient[..., 3, :], out=gradient[..., 4, :])
        return np.log(total), gradient

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        alpha, beta = (self.grid if grid is None else grid).T
        by_n, by_d = -alpha[:, None] * u[:, None, :, 0], -beta[:, None] * u[:, None, :, 1]
        factor = fit_sum(np.stack([np.zeros_like(by_n), by_n, by_d], axis=-1), v, w)
        shape = factor.shape[:2]
        rest = (np.broadcast_to(alpha, shape), np.broadcast_to(beta, shape))
        return np.stack([np.exp(factor[..., 0]), factor[..., 1], rest[0], factor[..., 2], rest[1]], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, b, beta = (theta[..., i] for i in range(5))
        n, d = centre[..., 0], centre[..., 1]
        factors = np.exp(a + offset + alpha * n), np.exp(b + offset + beta * d)
        return np.stack([floor * np.exp(offset), factors[0], alpha, factors[1], beta], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, b, beta = (params[..., i] for i in range(5))
        n, d = centre[..., 0], centre[..., 1]
        factors = np.log(a) - offset - alpha * n, np.log(b) - offset - beta * d
        return np.stack([floor * np.exp(-offset), factors[0], alpha, factors[1], beta], axis=-1)
