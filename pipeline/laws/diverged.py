"""Diverged: points far above all others near them. They are listed and count little; they are never left out.

A law is fitted by least absolute residuals, which a tenth of spoilt points hardly moves, with points below it counting
more, for a run diverges upward only. What the law leaves is compared with the median of the nearest neighbours, so
that a form which misses a whole stretch of the curve condemns nothing, in units of the median absolute deviation
(Rousseeuw and Croux 1993, section 1). Repeated with the points listed left aside, until the list stands.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.laws.fit import columns, fit
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.points import distinct

FAR = 5.0
"""Scaled median absolute deviations; of 10,000 Gaussian points none lies as far."""
LEAST = np.log(1.1)
"""A run less than 10 % above its surroundings is not called diverged, however exact the others are."""
LITTLE = 1e-6
"""Weight of a point that is listed, others counting 1: too little to be seen in the noise estimated from them all."""
NEIGHBOURS = 8
NARROW = 1e-3
"""Huber's delta of the first fit: least absolute residuals in effect."""
ENVELOPE = 2.0
ROUNDS = 10


@dataclass(frozen=True)
class Diverged:
    listed: np.ndarray
    """[n]"""
    excess: Array
    """ln y above the law and its surroundings, [n]."""
    limit: float
    """Excess above which a point is listed."""

    @property
    def weights(self) -> Array:
        return np.where(self.listed, LITTLE, 1.0)


def diverged(x: ArrayLike, y: ArrayLike, form: str | Form = "power_floor", known: ArrayLike | None = None) -> Diverged:
    """Which of the points x [n] or [n, d], y [n] have diverged about ``form``; ``known`` [n] have by their own account.

    Raises BadInput as ``fit`` does.
    """
    chosen = form if isinstance(form, Form) else form_named(form)
    xs, ys = columns(x, len(chosen.inputs)), np.asarray(y, dtype=float)
    told = np.zeros(len(ys), dtype=bool) if known is None else np.asarray(known, dtype=bool)
    near, listed = _nearest(np.log(xs)), told
    excess, limit = np.zeros(len(ys)), float(LEAST)
    for _ in range(ROUNDS):
        enough = distinct(xs[~listed]) > chosen.size
        law = fit(xs, ys, chosen, np.where(listed & enough, LITTLE, 1.0), NARROW, ENVELOPE)
        excess, limit = _excess(law.residuals, near, listed, chosen.size)
        before, listed = listed, told | (excess > limit)
        if (listed == before).all():
            break
    return Diverged(listed, excess, limit)


def _excess(residuals: Array, near: np.ndarray, listed: np.ndarray, parameters: int) -> tuple[Array, float]:
    """Residuals above the median of their neighbours, those listed apart, and how large a clean one can be."""
    around = np.where(listed[near], np.nan, residuals[near])
    alone = np.isnan(around).all(1)
    around[alone] = np.median(residuals)
    excess = residuals - np.nanmedian(around, axis=1)
    clean = excess[~listed] if not listed.all() else excess
    spread = 1.4826 * np.median(np.abs(clean - np.median(clean)))
    spread *= np.sqrt(len(clean) / max(1, len(clean) - parameters))
    return excess, max(float(LEAST), FAR * float(spread))


def _nearest(u: Array) -> np.ndarray:
    """The nearest neighbours of each point [n, k], by ln x in units of each input's spread."""
    from scipy.spatial import KDTree

    scaled = u / np.maximum(u.std(0), 1e-12)
    count = min(NEIGHBOURS + 1, len(u))
    order = KDTree(scaled).query(scaled, k=count)[1].reshape(len(u), count)
    own = order == np.arange(len(u))[:, None]
    own[~own.any(1), -1] = True  # among more than k equal places a point may miss itself
    return order[~own].reshape(len(u), count - 1)
