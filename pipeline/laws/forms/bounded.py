"""L = E + (L0 - E) h/(1 + h), h = a N^-alpha + b T^-beta + c N^gamma U^-delta (arXiv 2605.09189).

N is the size, U the unique data and T the samples seen. The three terms of h are too small a model, too short a
training and over-fitting, which grows with the model and falls with the data there is; L0 is the loss of pure chance.
"""

import numpy as np

from pipeline.laws.forms.base import FALLING, FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.12, 0.25, 0.45, 0.9]
RISES = [0.15, 0.4, 0.9]
SHARES = [0.2, 0.6, 0.9, 0.98]
"""Share of the least y that is floor."""
ROOMS = [-4.0, -2.0, 0.0]
"""ln of how far L0 lies above the largest y, relative to it."""


class Bounded(Form):
    name = "bounded"
    parameters = ("E", "L0", "a", "alpha", "b", "beta", "c", "gamma", "delta")
    inputs = ("N", "U", "T")
    latex = r"E + (L_0 - E) \frac{h}{1 + h},\; h = a N^{-\alpha} + b T^{-\beta} + c N^{\gamma} U^{-\delta}"
    units = ("y", "y", "N^alpha", "1", "T^beta", "1", "N^-gamma U^delta", "1", "1")
    bounds = (FLOOR, (-6.0, 8.0), LOG_FACTOR, FALLING, LOG_FACTOR, FALLING, LOG_FACTOR, FALLING, FALLING)
    bounded = True

    @property
    def grid(self) -> Array:
        return product(SHARES, ROOMS, EXPONENTS, EXPONENTS, RISES, RISES)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, width, a, alpha, b, beta, c, gamma, delta = (theta[..., i : i + 1] for i in range(9))
        n, unique, seen = u[..., 0], u[..., 1], u[..., 2]
        terms = a - alpha * n, b - beta * seen, c + gamma * n - delta * unique
        h = np.logaddexp(np.logaddexp(terms[0], terms[1]), terms[2])
        size, long, fitted = (np.exp(term - h) for term in terms)
        share = 1.0 / (1.0 + np.exp(-np.clip(h, -300.0, 300.0)))
        range_ = np.exp(width)
        total = floor + range_ * share
        up = range_ * share / total
        along = up * (1.0 - share)
        size, long, fitted = along * size, along * long, along * fitted
        rows = [1.0 / total, up, size, -n * size, long, -seen * long, fitted, n * fitted, -unique * fitted]
        return np.log(total), np.stack(np.broadcast_arrays(*rows), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """For given E and L0, h = (y - E)/(L0 - y) is a sum of three powers, of which the factors are linear."""
        inner = self.grid if grid is None else grid
        share, room, alpha, beta, gamma, delta = inner.T[..., None]
        y, used = np.exp(v)[:, None], (w > 0)[:, None]
        floor = np.where(used, y, np.inf).min(-1, keepdims=True) * np.minimum(share, 0.9999)
        chance = np.where(used, y, 0.0).max(-1, keepdims=True) * (1.0 + np.exp(room))
        below, above = np.maximum(y - floor, 1e-9), np.maximum(chance - y, 1e-9)
        weight = w[:, None] / (y / below + y / above) ** 2
        n, unique, seen = (u[:, None, :, i] for i in range(3))
        columns = np.stack([-alpha * n, -beta * seen, gamma * n - delta * unique], axis=-1)
        a, b, c = np.moveaxis(fit_sum(columns, np.log(below / above), weight), -1, 0)
        alpha, beta, gamma, delta = (np.broadcast_to(e[:, 0], a.shape) for e in (alpha, beta, gamma, delta))
        levels = floor[..., 0], np.log(chance - floor)[..., 0]
        return np.stack([*levels, a, alpha, b, beta, c, gamma, delta], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, width, a, alpha, b, beta, c, gamma, delta = (theta[..., i] for i in range(9))
        n, unique, seen = (centre[..., i] for i in range(3))
        levels = floor * np.exp(offset), (floor + np.exp(width)) * np.exp(offset)
        a, b, c = np.exp(a + alpha * n), np.exp(b + beta * seen), np.exp(c - gamma * n + delta * unique)
        return np.stack([*levels, a, alpha, b, beta, c, gamma, delta], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, chance, a, alpha, b, beta, c, gamma, delta = (params[..., i] for i in range(9))
        n, unique, seen = (centre[..., i] for i in range(3))
        levels = floor * np.exp(-offset), np.log(chance - floor) - offset
        a, b, c = np.log(a) - alpha * n, np.log(b) - beta * seen, np.log(c) + gamma * n - delta * unique
        return np.stack([*levels, a, alpha, b, beta, c, gamma, delta], axis=-1)
