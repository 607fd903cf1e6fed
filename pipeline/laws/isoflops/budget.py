"""Budget: the runs of one compute budget by model size, and the polynomials through them.

Runs are grouped by measured training FLOPs, never by 6 N D, which is wrong for small models and for convolutions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput, brief
from pipeline.laws import wording
from pipeline.laws.forms import Array

TOGETHER = 1.2
"""Runs whose FLOPs lie closer than this factor are of one budget, as whole steps and batches leave them."""
WIDEST = 1.5
"""Runs further apart are no profile at fixed compute."""
LEAST_SIZES = 4
"""A valley has a place, a height and a depth; one more size shows its shape."""


@dataclass(frozen=True)
class Profile:
    """Runs of one budget, ordered by size; logs throughout."""

    flops: float
    n: Array
    """ln of the model size."""
    c: Array
    """ln of the measured FLOPs."""
    v: Array
    """ln of the loss."""
    w: Array
    """Weight; next to nothing for a diverged run."""
    runs: np.ndarray
    """Place of each run in the table given."""

    @property
    def sizes(self) -> Array:
        return distinct_sizes(self.n)

    def lowest(self) -> float:
        """ln of the size with the lowest mean loss (in logs, over seeds)."""
        sizes = self.sizes
        at = [np.abs(self.n - s) < 1e-6 for s in sizes]
        return float(sizes[np.argmin([self.w[i] @ self.v[i] / self.w[i].sum() for i in at])])


@dataclass(frozen=True)
class Turn:
    """Where a polynomial in ln N through ln loss is lowest. ``n`` is None where ``check`` says why it is nowhere."""

    n: float | None
    check: str
    """bracketed | outside the sizes | no minimum | too few sizes"""


def distinct_sizes(n: Array) -> Array:
    ordered = np.sort(n)
    return ordered[np.concatenate([[True], np.diff(ordered) > 1e-6])]


def columns(**given: ArrayLike | None) -> dict[str, Array]:
    """Columns of equal length, finite and positive. Raises BadInput for any that is not, naming its first bad row."""
    found = {name: _numbers(name, values) for name, values in given.items() if values is not None}
    if len({len(v) for v in found.values()}) > 1:
        lengths = ", ".join(f"{name} {len(v)}" for name, v in found.items())
        raise BadInput(f"The columns must be equally long, one value a run: {lengths}.")
    for name, values in found.items():
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise BadInput(
                f"Column {name} must be finite and positive; row {bad[0]} holds {values[bad[0]]:g}: leave that run out "
                "and list it as excluded."
            )
    return found


def _numbers(name: str, values: ArrayLike) -> Array:
    try:
        return np.array(values, dtype=float).ravel()
    except (TypeError, ValueError) as error:
        raise BadInput(f"Column {name} must be numbers, one value a run: {brief(error)}.") from error


def profiles(
    size: Array, flops: Array, loss: Array, budget: Array | None = None, weights: Array | None = None
) -> list[Profile]:
    """Runs by budget, ascending. Without ``budget`` a gap of more than 20 % in FLOPs starts another."""
    if not len(size):
        return []
    c = np.log(flops)
    w = np.ones_like(c) if weights is None else weights
    key = c if budget is None else np.log(budget)
    order = np.argsort(key, kind="stable")
    apart = 1e-6 if budget is not None else np.log(TOGETHER)
    groups = np.split(order, 1 + np.flatnonzero(np.diff(key[order]) > apart))
    found = []
    for rows in groups:
        rows = rows[np.argsort(size[rows], kind="stable")]
        flops_of = float(np.exp(key[rows].mean()))
        found.append(Profile(flops_of, np.log(size[rows]), c[rows], np.log(loss[rows]), w[rows], rows))
    return found


def turn(profile: Profile, degree: int) -> Turn:
    """The minimum of the polynomial of ``degree`` 2 or 3 (Hoffmann et al. 2022, approach 2, take 2), checked."""
    sizes = profile.sizes
    if len(sizes) < degree + 1:
        return Turn(None, "too few sizes")
    centre, half = (sizes[0] + sizes[-1]) / 2, (sizes[-1] - sizes[0]) / 2
    u = (profile.n - centre) / half
    a = np.polynomial.polynomial.polyfit(u, profile.v, degree, w=np.sqrt(profile.w))
    b, q, k = a[1], a[2], a[3] if degree == 3 else 0.0
    inside = q * q - 3 * b * k
    if inside <= 0 or (bottom := q + np.sqrt(inside)) <= 0:  # the convex one of the two stationary points, if any
        return Turn(None, "no minimum")
    at = -b / bottom
    return Turn(float(centre + half * at), "bracketed" if abs(at) < 1 else "outside the sizes")


def refusal(profile: Profile, optimum: float | None = None) -> str:
    """Why a budget has no optimum of its own, or nothing. ``optimum`` is the fitted ln N*; -inf is nowhere."""
    name = f"budget {wording.place('compute', profile.flops)}"
    if reason := _no_profile(profile):
        return f"{name} {reason}"
    if optimum is None:
        return ""
    sizes, lowest = profile.sizes, profile.lowest()
    below = optimum <= sizes[0] or (lowest == sizes[0] and optimum < sizes[1])
    above = optimum >= sizes[-1] or (lowest == sizes[-1] and optimum > sizes[-2])
    if np.isneginf(optimum) or ((below or above) and turn(profile, 2).check == "no minimum"):
        return (
            f"{name} is not convex: over its {len(sizes)} sizes the losses bend down, or the noise hides how they bend"
        )
    if below or above:
        end = "smallest" if below else "largest"
        edge = np.exp(sizes[0] if below else sizes[-1])
        advice = "smaller" if below else "larger"
        return f"{name}: the optimum lies on the edge, at the {end} model run ({edge:.3g}); add {advice} ones"
    return ""


def _no_profile(profile: Profile) -> str:
    sizes = len(profile.sizes)
    if sizes < LEAST_SIZES:
        return f"has {wording.counted(sizes, 'model size')}, and a profile needs {LEAST_SIZES}"
    low, high = np.exp(profile.c.min()), np.exp(profile.c.max())
    if high > WIDEST * low:
        return (
            f"has runs of {low:.3g} to {high:.3g} FLOPs, and a profile at fixed compute needs them within a factor of "
            f"{WIDEST}; where they are several budgets, name the budget of each run in a column"
        )
    return ""
