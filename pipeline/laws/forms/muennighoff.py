"""Repeated data: Chinchilla's law in effective parameters and effective data (Muennighoff et al. 2023, section 3.1).

L = E + A N'^-alpha + B D'^-beta with D' = U_D (1 + R_D* (1 - e^(-R_D / R_D*))), U_D = min(D, U), R_D = D/U_D - 1, and
N' = U_N (1 + R_N* (1 - e^(-R_N / R_N*))), R_N = N/U_N - 1, where U_N is the size that would be compute-optimal for U_D
(alpha A U_N^-alpha = beta B U_D^-beta), or N where that is smaller. Passes over the data lose value after some R_D* of
them, and parameters beyond U_N after some R_N*.

D and U are compared with one another, so they share a centre.
"""

import numpy as np

from pipeline.laws.forms.base import EXPONENT_LIMIT, FLOOR, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.1, 0.2, 0.3, 0.45, 0.7, 1.2]
DECAYS = [0.0, 1.5, 3.0]
"""ln R_D* and ln R_N*."""
FALLING = (1e-3, EXPONENT_LIMIT)
"""Above zero, because the compute-optimal size has no meaning without an exponent."""
DECAY = (-7.0, 9.0)
ROUNDS = 3


class Muennighoff(Form):
    name = "muennighoff"
    parameters = ("E", "A", "alpha", "B", "beta", "R_D*", "R_N*")
    inputs = ("N", "D", "U")
    latex = (
        r"E + A \left[U_N + U_N R_N^* (1 - e^{-R_N/R_N^*})\right]^{-\alpha}"
        r" + B \left[U_D + U_D R_D^* (1 - e^{-R_D/R_D^*})\right]^{-\beta}"
    )
    units = ("y", "y N^alpha", "1", "y D^beta", "1", "1", "1")
    bounds = (FLOOR, LOG_FACTOR, FALLING, LOG_FACTOR, FALLING, DECAY, DECAY)

    @property
    def grid(self) -> Array:
        return product(EXPONENTS, EXPONENTS, DECAYS, DECAYS)

    def centre(self, logs: Array) -> Array:
        n, d, _ = logs.mean(0)
        return np.array([n, d, d])

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, a, alpha, b, beta, keep_d, keep_n = (theta[..., i : i + 1] for i in range(7))
        n, unique = u[..., 0], np.minimum(u[..., 1], u[..., 2])
        best = _optimal(unique, a, alpha, b, beta)
        least = np.minimum(n, best)
        data, _, kept_d = _effective(unique, u[..., 1], keep_d)
        size, along, kept_n = _effective(least, n, keep_n)
        by_n = np.exp(np.clip(a - alpha * size, -300.0, 300.0))
        by_d = np.exp(np.clip(b - beta * data, -300.0, 300.0))
        total = floor + by_n + by_d
        of_n, of_d = by_n / total, by_d / total
        # d ln y / d ln U_N over alpha, by which every derivative of ln U_N is divided.
        moved = -np.where(best < n, along, 0.0) * of_n
        gradient = [
            1.0 / total,
            of_n + moved,
            -size * of_n + moved * (1.0 / alpha - best),
            of_d - moved,
            -data * of_d + moved * (unique - 1.0 / beta),
            -beta * of_d * kept_d,
            -alpha * of_n * kept_n,
        ]
        return np.log(total), np.stack(np.broadcast_arrays(*gradient), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """U_N depends on the factors A and B: they are solved for in turn, from U_N = N."""
        inner = self.grid if grid is None else grid
        alpha, beta, keep_d, keep_n = inner.T[..., None]
        n, d = u[:, None, :, 0], u[:, None, :, 1]
        unique = np.minimum(d, u[:, None, :, 2])
        by_d = -beta * _effective(unique, d, keep_d)[0]
        size, factor = n, np.zeros(0)
        for _ in range(ROUNDS):
            columns = np.broadcast_arrays(np.zeros_like(by_d), -alpha * size, by_d)
            factor = fit_sum(np.stack(columns, axis=-1), v, w)
            best = _optimal(unique, factor[..., 1:2], alpha, factor[..., 2:], beta)
            size = _effective(np.minimum(n, best), n, keep_n)[0]
        rest = [np.broadcast_to(column, factor.shape[:2]) for column in inner.T]
        return np.stack([np.exp(factor[..., 0]), factor[..., 1], rest[0], factor[..., 2], *rest[1:]], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, b, beta, *keep = (theta[..., i] for i in range(7))
        n, d = centre[..., 0], centre[..., 1]
        factors = np.exp(a + offset + alpha * n), np.exp(b + offset + beta * d)
        return np.stack([floor * np.exp(offset), factors[0], alpha, factors[1], beta, *np.exp(keep)], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        floor, a, alpha, b, beta, *keep = (params[..., i] for i in range(7))
        n, d = centre[..., 0], centre[..., 1]
        factors = np.log(a) - offset - alpha * n, np.log(b) - offset - beta * d
        return np.stack([floor * np.exp(-offset), factors[0], alpha, factors[1], beta, *np.log(keep)], axis=-1)


def _optimal(data: Array, a: Array, alpha: Array, b: Array, beta: Array) -> Array:
    """ln N at which one more FLOP is worth as much in parameters as in data, for ln D."""
    return (np.log(alpha / beta) + a - b + beta * data) / alpha


def _effective(unique: Array, whole: Array, keep: Array) -> tuple[Array, Array, Array]:
    """ln of what is worth ``whole`` when only ``unique`` is new (both logarithms), and its two derivatives.

    The derivatives are with respect to ``unique`` and to ``keep``, the logarithm of R*.
    """
    star = np.exp(keep)
    times = np.exp(np.minimum(whole - unique, 300.0))
    spent = (times - 1.0) / star
    left, gained = np.exp(-spent), -np.expm1(-spent)
    factor = 1.0 + star * gained
    return unique + np.log(factor), 1.0 - times * left / factor, star * (gained - spent * left) / factor
