"""Forms: the curves a law may take. One registry; adding a form is one small class.

A form works in centred coordinates, u = ln x - centre and v = ln y - offset, so that its parameters are of order
one whatever the units. ``natural`` turns them into the numbers people report.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput, nearest

Array = NDArray[np.float64]

EXPONENTS = np.array([0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.2, 3.2])
"""Start values of the exponent; the other parameters follow from each by linear least squares."""
EXPONENT_LIMIT = 5.0


class Form(ABC):
    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    """Names of the natural parameters, in the order of theta."""
    latex: ClassVar[str]
    bounds: ClassVar[tuple[tuple[float, float], ...]]
    """Of theta, in centred coordinates."""

    @property
    def size(self) -> int:
        return len(self.parameters)

    @abstractmethod
    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        """Value v [..., n] and its gradient [..., n, p] for theta [..., p] and u [n]."""

    @abstractmethod
    def starts(self, u: Array, v: Array, w: Array) -> Array:
        """Start values [B, s, p] for u [n], v and weights w [B, n] (variable projection on the exponent)."""

    @abstractmethod
    def natural(self, theta: Array, centre: float, offset: float) -> Array:
        """theta [..., p] -> natural parameters [..., p]."""

    @abstractmethod
    def inverse(self, theta: Array, v: float) -> Array:
        """u [...] at which the curve has fallen to v; infinity where it never does."""


class Power(Form):
    """y = A x^-alpha (Hestness et al. 2017)."""

    name = "power"
    parameters = ("A", "alpha")
    latex = r"A x^{-\alpha}"
    bounds = ((-40.0, 40.0), (-EXPONENT_LIMIT, EXPONENT_LIMIT))

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        value = theta[..., :1] - theta[..., 1:] * u
        gradient = np.stack([np.ones_like(value), np.broadcast_to(-u, value.shape)], axis=-1)
        return value, gradient

    def starts(self, u: Array, v: Array, w: Array) -> Array:
        total = w.sum(-1)
        mean_u, mean_v = (w * u).sum(-1) / total, (w * v).sum(-1) / total
        du = u - mean_u[:, None]
        slope = (w * du * v).sum(-1) / np.maximum((w * du * du).sum(-1), 1e-300)
        return np.stack([mean_v - slope * mean_u, -slope], axis=-1)[:, None, :]

    def natural(self, theta: Array, centre: float, offset: float) -> Array:
        a, alpha = theta[..., 0], theta[..., 1]
        return np.stack([np.exp(a + offset + alpha * centre), alpha], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        a, alpha = theta[..., 0], theta[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(alpha > 0, (a - v) / alpha, np.inf)


class PowerFloor(Form):
    """y = E + A x^-alpha with E, alpha >= 0 (Hoffmann et al. 2022, section 3.3, on one axis)."""

    name = "power_floor"
    parameters = ("E", "A", "alpha")
    latex = r"E + A x^{-\alpha}"
    bounds = ((0.0, 1e3), (-40.0, 40.0), (0.0, EXPONENT_LIMIT))

    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        floor, a, alpha = theta[..., :1], theta[..., 1:2], theta[..., 2:]
        falling = np.exp(np.clip(a - alpha * u, -300.0, 300.0))
        total = floor + falling
        share = falling / total
        return np.log(total), np.stack([1.0 / total, share, -u * share], axis=-1)

    def starts(self, u: Array, v: Array, w: Array) -> Array:
        """For each exponent, floor and factor by weighted least squares on relative residuals, kept >= 0."""
        left, least = u.min(), v.min(-1)[:, None]  # both columns are at most 1 when measured from these
        z = np.exp(-EXPONENTS[:, None] * (u - left))  # [s, n]
        one = np.exp(least - v)[:, None, :]  # columns divided by y: the target is 1 everywhere
        power, q = z * one, w[:, None, :]
        ee, ep, pp = (q * one * one).sum(-1), (q * one * power).sum(-1), (q * power * power).sum(-1)
        e1, p1 = (q * one).sum(-1), (q * power).sum(-1)
        gap = np.maximum(ee * pp - ep * ep, 1e-12 * ee * pp)
        floor = (e1 * pp - p1 * ep) / gap
        factor = np.where(floor > 0, (p1 * ee - e1 * ep) / gap, p1 / pp)
        floor = np.where(factor > 0, np.maximum(floor, 0.0), e1 / ee)
        factor = np.log(np.maximum(factor, 1e-3)) + least + EXPONENTS * left
        return np.stack([floor * np.exp(least), factor, np.broadcast_to(EXPONENTS, floor.shape)], axis=-1)

    def natural(self, theta: Array, centre: float, offset: float) -> Array:
        floor, a, alpha = theta[..., 0], theta[..., 1], theta[..., 2]
        return np.stack([floor * np.exp(offset), np.exp(a + offset + alpha * centre), alpha], axis=-1)

    def inverse(self, theta: Array, v: float) -> Array:
        floor, a, alpha = theta[..., 0], theta[..., 1], theta[..., 2]
        above = np.exp(v) - floor
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (a - np.log(np.maximum(above, 1e-300))) / alpha
        return np.where((above > 0) & (alpha > 0), u, np.inf)


FORMS: dict[str, Form] = {form.name: form for form in (Power(), PowerFloor())}


def form_named(name: str) -> Form:
    """Raises BadInput for a name that is no form."""
    if name not in FORMS:
        raise BadInput(f"There is no form {name!r}: {nearest(name, FORMS)}")
    return FORMS[name]
