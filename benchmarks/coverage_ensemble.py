"""Coverage of the default ensemble's intervals, as ``crossover fit`` gives them. Part of ``benchmarks.coverage``."""

from dataclasses import dataclass

import numpy as np

from pipeline.laws.forms import Array, form_named
from pipeline.laws.tables.tabular import fit_table

STUDIES = 100
"""Of each case: a study takes most of a second."""
DRAWS = 200
SEEDS, NOISE = 2, 0.02
KEYS = ("lo", "hi", "new_lo", "new_hi")


@dataclass(frozen=True)
class Truth:
    """A law of x and the number of its configurations, spread over 2.5 decades from 1e3."""

    form: str
    params: tuple[float, ...]
    configs: int

    def log(self, x: Array) -> Array:
        form, centre = form_named(self.form), np.zeros(1)
        return form.log(form.internal(np.array(self.params), centre, 0.0), np.log(x)[:, None])[0]


TRUTHS = {
    "power_floor, 9": Truth("power_floor", (0.15, 1e3**0.4, 0.4), 9),
    "power_floor, 25": Truth("power_floor", (0.15, 1e3**0.4, 0.4), 25),
    "shifted, 16": Truth("shifted", (0.15, 6e3**0.6, 0.6, 5e3), 16),
}


def coverage(truth: Truth, count: int, stream: int) -> tuple[Array, Array, Array]:
    """Shares covered of the law and of a new run [k] in the middle, at the end and a decade beyond, and the median
    width of the law's interval [k] in ln y."""
    random = np.random.Generator(np.random.Philox(key=[stream, 0]))
    x = np.repeat(1e3 * 10 ** np.linspace(0.0, 2.5, truth.configs), SEEDS)
    at = 1e3 * 10 ** np.array([1.25, 2.5, 3.5])
    mean = truth.log(at)
    inside, new_inside, width = [], [], []
    for study in range(count):
        y = np.exp(truth.log(x) + NOISE * random.standard_normal(len(x)))
        new = mean + NOISE * random.standard_normal(len(at))
        found = fit_table({"x": x, "y": y}, "x", "y", kind="loss", predict=at.tolist(), draws=DRAWS, seed=study)
        ends = np.log([[getattr(place, key) for key in KEYS] for place in found.groups[0].predictions])
        inside.append((ends[:, 0] <= mean) & (mean <= ends[:, 1]))
        new_inside.append((ends[:, 2] <= new) & (new <= ends[:, 3]))
        width.append(ends[:, 1] - ends[:, 0])
    return np.mean(inside, axis=0), np.mean(new_inside, axis=0), np.median(width, axis=0)
