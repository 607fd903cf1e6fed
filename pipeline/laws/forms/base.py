"""Form: a curve or surface a law may take. One small file each; the registry is in the package.

A form works in centred logarithms, u = ln x - centre and v = ln y - offset, so that its parameters (theta) are of
order one whatever the units. ``natural`` turns them into the numbers people report, ``internal`` back.

Shapes: B problems, s starts, n points, d inputs, p parameters.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bounds = tuple[tuple[float, float], ...]

LOG_LIMIT = 40.0
"""Of the logarithm of a factor in centred coordinates."""
EXPONENT_LIMIT = 5.0
FLOOR = (0.0, 1e3)
LOG_FACTOR = (-LOG_LIMIT, LOG_LIMIT)
FALLING = (0.0, EXPONENT_LIMIT)


class Form(ABC):
    name: str
    parameters: tuple[str, ...]
    """Names of the natural parameters, in the order of theta."""
    inputs: tuple[str, ...] = ("x",)
    """What the columns of x are."""
    latex: str
    units: tuple[str, ...]
    """Of each parameter; y and the inputs stand for their units, 1 for none."""
    bounds: Bounds
    """Of theta, in centred coordinates."""
    bounded: bool = False
    """Whether y has an upper bound of its own (a chance level)."""

    @property
    def size(self) -> int:
        return len(self.parameters)

    @abstractmethod
    def log(self, theta: Array, u: Array) -> tuple[Array, Array]:
        """v [..., n] and its gradient [..., p, n] for theta [..., p] and u [..., n, d]; leading axes broadcast."""

    @abstractmethod
    def starts(self, u: Array, v: Array, w: Array, grid: Array | None = None) -> Array:
        """Start values [B, s, p] for u [B, n, d], v and weights w [B, n] (0 leaves a point out).

        ``grid`` [s, q] replaces the form's own values of the parameters that enter non-linearly.
        """

    @abstractmethod
    def natural(self, theta: Array, centre: Array, offset: Array | float) -> Array:
        """theta [..., p] -> natural parameters [..., p], with centre [..., d] and offset [...]."""

    @abstractmethod
    def internal(self, params: Array, centre: Array, offset: Array | float) -> Array:
        """The inverse of ``natural``."""

    def inverse(self, theta: Array, v: float) -> Array:
        """u [...] at which a falling curve of one input reaches v; infinity where it never does."""
        raise NotImplementedError(f"{self.name} has no inverse")

    def centre(self, logs: Array) -> Array:
        """Where u = 0 for ln x [n, d]: the mean, unless the form compares inputs with one another."""
        return logs.mean(0)

    @property
    def grid(self) -> Array:
        """Start values [s, q] of what enters non-linearly."""
        return np.zeros((1, 0))


def product(*values: list[float]) -> Array:
    """All combinations, [s, q]."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*values, indexing="ij")], axis=-1)


def fit_sum(columns: Array, v: Array, w: Array) -> Array:
    """Logarithms of the non-negative coefficients c [B, s, k] that make sum_k c_k exp(columns) nearest to exp(v).

    columns [B or 1, s, n, k] are logarithms; v, w [B, n], or [B, s, n] where each start has its own. Weighted least
    squares on relative errors (variable projection, Golub and Pereyra 1973), non-negative by trying every set of active
    columns (k <= 4). A coefficient of zero is returned as 1e-3 of the least y, so that its exponent can still move.
    """
    v, w = (a[:, None] if a.ndim == 2 else a for a in (v, w))
    used = (w > 0)[..., None]
    relative = columns - v[..., None]
    top = np.where(used, relative, -np.inf).max(2, keepdims=True)
    root = np.sqrt(w)[..., None]
    basis = np.exp(np.minimum(relative - top, 0.0)) * root
    moments = np.swapaxes(basis, -1, -2)
    normal = moments @ basis
    target = (moments @ root)[..., 0]
    coefficient = _non_negative(normal, target)
    least = np.where(used[..., 0], v, np.inf).min(-1)[..., None]
    size = np.where(used, columns, -np.inf).max(2)
    small = np.log(1e-3) + least - size
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(coefficient) - top[:, :, 0, :], small)


def _non_negative(normal: Array, target: Array) -> Array:
    """Least squares from normal equations [..., k, k], target [..., k], over every set of active columns."""
    k = target.shape[-1]
    best = np.zeros_like(target)
    least = np.zeros(target.shape[:-1])
    for chosen in range(1, 2**k):
        active = [i for i in range(k) if chosen >> i & 1]
        block = normal[..., active, :][..., :, active].copy()
        index = np.arange(len(active))
        block[..., index, index] *= 1.0 + 1e-12
        block[..., index, index] += 1e-300
        wanted = target[..., active]
        solution = np.linalg.solve(block, wanted[..., None])[..., 0]
        gain = -(solution * wanted).sum(-1)
        better = (solution >= 0).all(-1) & (gain < least)
        least = np.where(better, gain, least)
        candidate = np.zeros_like(target)
        candidate[..., active] = solution
        best = np.where(better[..., None], candidate, best)
    return best
