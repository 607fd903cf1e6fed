"""Ensemble: several forms fitted to the same curve and averaged in logarithms by how well each is supported.

No single form is best on every curve: noise-free curves reward flexible forms, noisy ones plain forms. Weights are
posterior probabilities in the approximation of the Bayesian information criterion, exp(-BIC / 2) (Raftery 1995,
section 4.1; Hoeting et al. 1999), so that a form with more parameters has to earn them. The mean is taken in ln y.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.fit import Fit, fit_many
from pipeline.laws.forms import FORMS, Array
from pipeline.laws.gates import SPARE
from pipeline.laws.points import distinct

SINGLE = tuple(name for name, form in FORMS.items() if form.inputs == ("x",))
"""Forms of one input."""
AVERAGED = ("power_floor", "shifted", "m3", "m4", "bnsl1")
"""Forms of the default ensemble. A power law is the one with a floor of zero; two breaks fit past any hold-out."""
OUTLIER = 3.0
"""Huber's delta in units of the scatter: the BIC takes residuals for Gaussian, so only what is far off is cut."""
EXACT = 1e-9
"""Scatter of ln y below which all forms count as exact."""


@dataclass(frozen=True)
class Ensemble:
    fits: tuple[Fit, ...]
    weights: Array
    """Of each form; they sum to 1."""
    left_out: dict[str, str]
    """Form -> why it was not fitted."""
    top: float | None
    """Upper bound of y, where the metric has one."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(found.form.name for found in self.fits)

    def log(self, x: ArrayLike) -> Array:
        """Weighted mean of ln y over the forms at x [n]."""
        return self._limited(self.weights @ self.each(x))

    def each(self, x: ArrayLike) -> Array:
        """ln y of every form, [f, n]."""
        return np.stack([found.log(np.asarray(x, dtype=float)) for found in self.fits])

    def predict(self, x: ArrayLike) -> Array:
        return np.exp(self.log(x))

    def spread(self, x: ArrayLike) -> Array:
        """How far the forms are apart in ln y (weighted standard deviation) at x [n]."""
        each = self.each(x)
        return np.sqrt(self.weights @ (each - self.weights @ each) ** 2)

    def _limited(self, value: Array) -> Array:
        return value if self.top is None else np.minimum(value, np.log(self.top))


def ensemble(
    x: ArrayLike,
    y: ArrayLike,
    forms: Sequence[str] = AVERAGED,
    weights: ArrayLike | None = None,
    delta: float | None = None,
    top: float | None = None,
    seed: int = 0,
) -> Ensemble:
    """Every form that has places enough, fitted to x, y [n] and weighted. ``top`` bounds y (1 for an error rate).

    Raises BadInput for points that cannot be fitted and where no form has enough of them.
    """
    return ensembles([(x, y)], forms, None if weights is None else [weights], delta, top, seed)[0]


def ensembles(
    sets: Sequence[tuple[ArrayLike, ArrayLike]],
    forms: Sequence[str] = AVERAGED,
    weights: Sequence[ArrayLike] | None = None,
    delta: float | None = None,
    top: float | None = None,
    seed: int = 0,
) -> list[Ensemble]:
    """``ensemble`` of several curves; each form is fitted to all of them at once."""
    fits: list[dict[str, Fit]] = [{} for _ in sets]
    left_out: list[dict[str, str]] = [{} for _ in sets]
    for name in forms:
        able = []
        for i, (x, _) in enumerate(sets):
            places, needed = distinct(np.asarray(x, dtype=float)), FORMS[name].size + SPARE
            if places >= needed:
                able.append(i)
            else:
                left_out[i][name] = f"it needs {needed} distinct places, and there are {places}"
        chosen = [weights[i] for i in able] if weights else None
        found = fit_many([sets[i] for i in able], name, chosen, delta, seed=seed, outlier=OUTLIER) if able else []
        for i, one in zip(able, found, strict=True):
            fits[i][name] = one
    return [_weigh(fits[i], left_out[i], top) for i in range(len(sets))]


def _weigh(fits: dict[str, Fit], left_out: dict[str, str], top: float | None) -> Ensemble:
    if not fits:
        raise BadInput(f"No form can be fitted: {'; '.join(f'{n}: {why}' for n, why in left_out.items())}.")
    found = tuple(fits.values())
    score = np.array([_bic(one) for one in found])
    likely = np.exp(-0.5 * (score - score.min()))
    return Ensemble(found, likely / likely.sum(), left_out, top)


def _bic(found: Fit) -> float:
    count = len(found.residuals)
    variance = max(float(np.mean(found.residuals**2)), EXACT**2)
    return count * np.log(variance) + (found.form.size + 1) * np.log(count)
