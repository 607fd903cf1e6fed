"""Extrapolation: single forms and the ensemble on learning curves they have not seen the end of.

python -m benchmarks.extrapolation CSV [--train-only]

CSV: a table of curves with the columns Domain, Task, Model, Seen Examples, Loss and Training (1 fit, 0 predict), as
published with Alabdulmohsin et al. (2022), "Revisiting Neural Scaling Laws in Language and Vision". The figure is
their own: the root mean square of ln prediction - ln truth on Training = 0, averaged over the curves of a domain.
``--train-only`` never looks at Training = 0: it cuts each training part at a half and a quarter of its largest x and
predicts the next factor of 2.1.
"""

import sys
from collections import defaultdict

import numpy as np

from benchmarks.table import show
from pipeline.laws.ensemble import SINGLE, ensembles
from pipeline.laws.fit import fit_many
from pipeline.laws.forms import FORMS
from pipeline.laws.points import distinct

Curve = tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def read(path: str) -> list[Curve]:
    """(domain, x and y to fit, x and y to predict) of each curve."""
    import pandas

    table = pandas.read_csv(path)
    curves = []
    for key, rows in table.sort_values("Seen Examples").groupby(["Domain", "Task", "Model"]):
        parts = [rows[rows.Training == flag] for flag in (1, 0)]
        values = [np.asarray(part[name], dtype=float) for part in parts for name in ("Seen Examples", "Loss")]
        curves.append((str(key[0]) if isinstance(key, tuple) else str(key), *values))
    return curves


def cut(curves: list[Curve]) -> list[Curve]:
    out = []
    for domain, x, y, _, _ in curves:
        for factor in (2.0, 4.0):
            seen = x <= x.max() / factor * 1.0001
            next_ = ~seen & (x <= x.max() / factor * 2.1)
            if distinct(x[seen]) >= 8 and next_.any():
                out.append((domain, x[seen], y[seen], x[next_], y[next_]))
    return out


def errors(curves: list[Curve], predictions: list[np.ndarray]) -> dict[str, list[float]]:
    found = defaultdict(list)
    for (domain, _, _, _, truth), guess in zip(curves, predictions, strict=True):
        found[domain].append(float(np.sqrt(np.mean((guess - np.log(truth)) ** 2))))
    return found


def measure(curves: list[Curve]) -> dict[str, dict[str, list[float]]]:
    sets = [(x, y) for _, x, y, _, _ in curves]
    result = {}
    for name in [n for n in SINGLE if n != "sigmoid"]:
        if all(distinct(x) > FORMS[name].size for x, _ in sets):
            found = fit_many(sets, name)
            result[name] = errors(curves, [f.log(c[3]) for f, c in zip(found, curves, strict=True)])
    together = ensembles(sets)
    result["ensemble"] = errors(curves, [e.log(c[3]) for e, c in zip(together, curves, strict=True)])
    return result


def main(words: list[str]) -> None:
    if not words or words[0].startswith("--"):
        sys.exit("Name the table of curves: python -m benchmarks.extrapolation CSV [--train-only]")
    curves = read(words[0])
    if "--train-only" in words:
        curves = cut(curves)
    result = measure(curves)
    domains = sorted({c[0] for c in curves})
    header = ["form", *(f"{d} ({sum(c[0] == d for c in curves)})" for d in domains)]
    show(header, [[name, *(f"{np.mean(by[d]):.5f}" for d in domains)] for name, by in result.items()])


if __name__ == "__main__":
    main(sys.argv[1:])
