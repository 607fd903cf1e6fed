"""Forms: y as a function of x > 0, in ln y, with analytic gradients, for many parameter sets at once.

Parameters are unconstrained: ``a`` = ln A, ``alpha``, and ``e`` = ln E. Shapes: theta (..., p), u = ln x (n,).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ALPHA = (0.0, 3.0)
"""Exponents are kept in this range; at its edge the fit says so."""
FLOOR_DEPTH = 7.0
"""ln E may lie this far under the smallest ln y; there the floor is as good as absent."""


@dataclass(frozen=True)
class Form:
    name: str
    latex: str
    parameters: tuple[str, ...]
    log_value: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(theta (..., p), u (n,)) -> ln y (..., n)."""
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """-> (..., n, p)."""

    def named(self, theta: np.ndarray) -> dict[str, float]:
        """Parameters in natural units: A, alpha, E."""
        values = {name: float(v) for name, v in zip(self.parameters, theta, strict=True)}
        plain = {"A": float(np.exp(values["a"])), "alpha": values["alpha"]}
        return {**plain, "E": float(np.exp(values["e"]))} if "e" in values else plain


def _power(theta: np.ndarray, u: np.ndarray) -> np.ndarray:
    return theta[..., 0, None] - theta[..., 1, None] * u


def _power_gradient(theta: np.ndarray, u: np.ndarray) -> np.ndarray:
    shape = (*theta.shape[:-1], len(u))
    return np.stack([np.ones(shape), np.broadcast_to(-u, shape)], axis=-1)


def _floor(theta: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.logaddexp(theta[..., 2, None], _power(theta, u))


def _floor_gradient(theta: np.ndarray, u: np.ndarray) -> np.ndarray:
    share = np.exp(_power(theta, u) - _floor(theta, u))  # of the power term in y
    return np.stack([share, -share * u, 1.0 - share], axis=-1)


POWER = Form("power", r"y = A x^{-\alpha}", ("a", "alpha"), _power, _power_gradient)
POWER_FLOOR = Form(
    "power_floor", r"y = E + A x^{-\alpha}", ("a", "alpha", "e"), _floor, _floor_gradient
)
FORMS = {form.name: form for form in (POWER, POWER_FLOOR)}
