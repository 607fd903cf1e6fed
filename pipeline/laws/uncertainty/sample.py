"""Sample: a fit with its points, or S such fits to other y at the same x, ready to be asked how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.fit import Fit, columns
from pipeline.laws.forms import Array, Form
from pipeline.laws.solver import objective, solve
from pipeline.laws.uncertainty.clusters import Clusters

NOTHING = 1e-3
"""Weight, of a mean of 1, up to which a point says nothing of the noise."""


@dataclass(frozen=True)
class Sample:
    """u [n, d] = ln x - centre [d], v [S, n] = ln y - offset, weights w [n] of mean 1, theta [S, p], delta [S]."""

    form: Form
    u: Array
    v: Array
    w: Array
    theta: Array
    delta: Array
    over: float
    clusters: Clusters
    centre: Array
    offset: float

    @classmethod
    def of(
        cls,
        found: Fit,
        x: ArrayLike,
        y: ArrayLike,
        runs: Sequence[object] | None = None,
        configs: Sequence[object] | None = None,
        weights: ArrayLike | None = None,
        over: float = 1.0,
    ) -> "Sample":
        """``x``, ``y``, ``weights`` and ``over`` as they were fitted; the order of the points does not matter.

        ``runs`` and ``configs`` name each point's run and configuration: see ``Clusters``. Raises BadInput for points
        other than those fitted.
        """
        xs, ys = columns(x, len(found.centre)), np.asarray(y, dtype=float).ravel()
        w = np.ones_like(ys) if weights is None else np.asarray(weights, dtype=float).ravel()
        if not len(xs) == len(ys) == len(w) == len(found.residuals):
            raise BadInput(f"The law was fitted to {len(found.residuals)} points, and here are {len(ys)}.")
        names = [
            np.zeros(len(ys), dtype=np.int64) if given is None else np.array(given, dtype=str)
            for given in (runs, configs)
        ]
        order = np.lexsort((*names, w, ys, *xs.T[::-1]))
        runs, configs = (
            [str(n) for n in name[order]] if given is not None else None
            for name, given in zip(names, (runs, configs), strict=True)
        )
        logs = np.log(xs[order])
        v = (np.log(ys[order]) - found.offset)[None]
        clusters = Clusters.of(logs, runs, configs)
        u, w, theta, delta = logs - found.centre, w[order] / w.mean(), found.theta[None], np.array([found.delta])
        return cls(found.form, u, v, w, theta, delta, over, clusters, found.centre, found.offset)

    def value(self, theta: Array | None = None) -> Array:
        """The curve at the points, [S, n]."""
        return self.form.log(self.theta if theta is None else theta, self.u)[0]

    def loss(self, theta: Array) -> Array:
        return objective(self.v - self.value(theta), self.w, self.delta, self.over)

    def solve(self, v: Array, w: Array) -> Array:
        """The form to draws v and w ([S, B, n], or of length 1 in S or B), from the sample's optimum: [S, B, p]."""
        studies, draws = len(self.theta), max(v.shape[1], w.shape[1])
        shape = (studies, draws, self.w.shape[-1])
        flat = [np.broadcast_to(a, shape).reshape(-1, shape[-1]) for a in (v, w)]
        start, delta = np.repeat(self.theta, draws, 0), np.repeat(self.delta, draws)
        return solve(self.form, self.u, flat[0], flat[1], start, delta, self.over)[0].reshape(studies, draws, -1)

    def counted(self) -> tuple["Sample", float]:
        """Without the points whose weight says that they are none (diverged runs), and the mean weight of the others,
        which becomes 1. All are kept where the others lie at no more places than the form has parameters."""
        kept = np.flatnonzero(self.w > NOTHING)
        places = len(np.unique(np.round(self.u[kept], 9), axis=0))
        if len(kept) == len(self.w) or places <= self.form.size:
            return self, 1.0
        scale, clusters = float(self.w[kept].mean()), self.clusters.only(kept)
        return replace(self, u=self.u[kept], v=self.v[:, kept], w=self.w[kept] / scale, clusters=clusters), scale

    def countable(self) -> "Sample":
        """With one configuration only, its points have to stand for runs of their own."""
        return self if self.clusters.count > 1 else replace(self, clusters=self.clusters.apart())
