"""y = alpha x^-a + (beta x^b + xi) t^-c + epsilon for a shape x (depth, width or MLP size) and compute t.

Alabdulmohsin et al. 2023, Getting ViT in Shape, section 3, eq. 2: at a given compute the best x grows as t^(c/(a + b)).
"""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.1, 0.25, 0.45, 0.7, 1.1, 1.8]


class Shape(Form):
    name = "shape"
    parameters = ("alpha", "a", "beta", "b", "xi", "c", "epsilon")
    inputs = ("shape", "C")
    latex = r"\alpha x^{-a} + (\beta x^{b} + \xi) t^{-c} + \epsilon"
    units = ("y shape^a", "1", "y shape^-b C^c", "1", "y C^c", "1", "y")
    bounds = (LOG_FACTOR, FALLING, LOG_FACTOR, FALLING, LOG_FACTOR, FALLING, FLOOR)

    @property
    def grid(self) -> Array:
        return product(EXPONENTS, EXPONENTS, EXPONENTS)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        alpha, a, beta, b, xi, c, floor = (theta[..., i : i + 1] for i in range(7))
        x, t = u[..., 0], u[..., 1]
        terms = alpha - a * x, beta + b * x - c * t, xi - c * t
        small, large, long = (np.exp(np.clip(term, -300.0, 300.0)) for term in terms)
        total = floor + small + large + long
        small, large, long = small / total, large / total, long / total
        rows = [small, -x * small, large, x * large, long, -t * (large + long), 1.0 / total]
        return np.log(total), np.stack(np.broadcast_arrays(*rows), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        inner = self.grid if grid is None else grid
        a, b, c = inner.T[..., None]
        x, t = u[:, None, :, 0], u[:, None, :, 1]
        columns = np.broadcast_arrays(-a * x, b * x - c * t, -c * t, np.zeros_like(x))
        alpha, beta, xi, floor = np.moveaxis(fit_sum(np.stack(columns, axis=-1), v, w), -1, 0)
        a, b, c = (np.broadcast_to(column, alpha.shape) for column in inner.T)
        return np.stack([alpha, a, beta, b, xi, c, np.exp(floor)], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        alpha, a, beta, b, xi, c, floor = (theta[..., i] for i in range(7))
        x, t = centre[..., 0], centre[..., 1]
        factors = np.exp(np.stack([alpha + a * x, beta - b * x + c * t, xi + c * t]) + offset)
        return np.stack([factors[0], a, factors[1], b, factors[2], c, floor * np.exp(offset)], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        alpha, a, beta, b, xi, c, floor = (params[..., i] for i in range(7))
        x, t = centre[..., 0], centre[..., 1]
        alpha, beta, xi = np.log(np.stack([alpha, beta, xi])) - offset
        return np.stack([alpha - a * x, a, beta + b * x - c * t, b, xi - c * t, c, floor * np.exp(-offset)], axis=-1)
