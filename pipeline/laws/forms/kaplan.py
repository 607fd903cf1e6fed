"""y = [(Nc/N)^(alpha_N/alpha_D) + Dc/D]^alpha_D: no floor, size and data coupled (Kaplan et al. 2020, eq. 1.5).

theta holds the logarithms of the two limits at the centre, ln (Nc/N)^alpha_N and ln (Dc/D)^alpha_D: these stay of
order one where Nc and Dc lie many decades outside the data.
"""

import numpy as np

from pipeline.laws.forms.base import EXPONENT_LIMIT, LOG_FACTOR, Array, Form, fit_sum, product

EXPONENTS = [0.02, 0.05, 0.09, 0.15, 0.25, 0.4, 0.6, 0.9, 1.4, 2.2]
FALLING = (1e-3, EXPONENT_LIMIT)
"""Above zero, because Nc and Dc have no meaning without an exponent."""


class Kaplan(Form):
    name = "kaplan"
    parameters = ("Nc", "alpha_N", "Dc", "alpha_D")
    inputs = ("N", "D")
    latex = r"\left[(N_c/N)^{\alpha_N/\alpha_D} + D_c/D\right]^{\alpha_D}"
    units = ("N y^(1/alpha_N)", "1", "D y^(1/alpha_D)", "1")
    bounds = (LOG_FACTOR, FALLING, LOG_FACTOR, FALLING)

    @property
    def grid(self) -> Array:
        return product(EXPONENTS, EXPONENTS)

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        a, alpha, b, beta = (theta[..., i : i + 1] for i in range(4))
        n, d = u[..., 0], u[..., 1]
        by_n, by_d = (a - alpha * n) / beta, (b - beta * d) / beta
        both = np.logaddexp(by_n, by_d)
        of_n, of_d = np.exp(by_n - both), np.exp(by_d - both)
        gradient = [of_n, -n * of_n, of_d, both - of_n * by_n - of_d * b / beta]
        return beta * both, np.stack(np.broadcast_arrays(*gradient), axis=-2)

    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """y^(1/alpha_D) is a sum of two powers, of which the factors are linear."""
        alpha, beta = (self.grid if grid is None else grid).T[..., None]
        by_n, by_d = -alpha / beta * u[:, None, :, 0], -u[:, None, :, 1]
        factor = fit_sum(np.stack(np.broadcast_arrays(by_n, by_d), axis=-1), v[:, None] / beta, w)
        alpha, beta = (np.broadcast_to(e[:, 0], factor.shape[:2]) for e in (alpha, beta))
        return np.stack([factor[..., 0] * beta, alpha, factor[..., 1] * beta, beta], axis=-1)

    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        a, alpha, b, beta = (theta[..., i] for i in range(4))
        with np.errstate(over="ignore"):  # a size past every number, where the exponent is next to 0
            sizes = np.exp(centre[..., 0] + (a + offset) / alpha), np.exp(centre[..., 1] + (b + offset) / beta)
        return np.stack([sizes[0], alpha, sizes[1], beta], axis=-1)

    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        size_n, alpha, size_d, beta = (params[..., i] for i in range(4))
        a = alpha * (np.log(size_n) - centre[..., 0]) - offset
        b = beta * (np.log(size_d) - centre[..., 1]) - offset
        return np.stack([a, alpha, b, beta], axis=-1)
