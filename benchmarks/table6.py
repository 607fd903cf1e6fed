"""Table 6 of the ViT paper: compute needed for equal error, per metric, and what its 18 points can say.

python -m benchmarks.table6

Error = 100 % - accuracy. Families share the floor and the exponent of E + A x^-alpha, so that the ratio of computes at
equal error is one number, (A_a / A_b)^(1/alpha). Each row of the table is one run of a model of its own, so nothing
but the scatter about the law measures noise: intervals are percentiles of draws that move every point by that scatter,
with Student's correction for its degrees of freedom.
"""

import csv

import numpy as np

from benchmarks.table import show
from pipeline.laws.examples import TABLE_6
from pipeline.laws.fit import Fit, fit, nearby
from pipeline.laws.forms import FORMS
from pipeline.laws.groups import GroupFit, fit_groups

METRICS = ["ImageNet", "ReaL", "CIFAR-10", "CIFAR-100", "Pets", "Flowers"]
AVERAGE = "average of 5"
"""Of all but ReaL, as in the paper's Figure 5 (its Table 7 averages the same five)."""
DRAWS = 4000
LEVEL = 0.95
WEAK = 100.0
"""delta in ln y: no point of a printed table is an outlier, so least squares."""


def errors() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Compute in exaFLOPs [18], family [18], and error in percent [18] by metric."""
    with TABLE_6.open() as file:
        rows = list(csv.DictReader(file))
    compute = np.array([float(row["exaflops"]) for row in rows])
    family = np.array([row["family"] for row in rows])
    found = {metric: np.array([100 - float(row[metric]) for row in rows]) for metric in METRICS}
    found[AVERAGE] = np.mean([found[m] for m in METRICS if m != "ReaL"], axis=0)
    return compute, family, found


def draws(found: Fit, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """theta [B, p] of the fit to points moved about the law."""
    random = np.random.Generator(np.random.Philox(key=[seed, 6]))
    count = len(found.residuals)
    dof = count - found.form.size
    scatter = np.sqrt((found.residuals**2).sum() / dof)
    moved = scatter * random.standard_normal((DRAWS, count)) * np.sqrt(dof / random.chisquare(dof, (DRAWS, 1)))
    return nearby(found, x, found.log(x) + moved, np.ones(count))


def ends(values: np.ndarray) -> tuple[float, float]:
    lo, hi = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lo), float(hi)


def ratios(compute: np.ndarray, family: np.ndarray, y: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Compute of the first over the second at equal error, with its interval."""
    law = fit_groups(compute, y, family.tolist(), "power_floor", share=["E", "alpha"], delta=WEAK)
    index = np.column_stack([compute, 1.0 + np.searchsorted(np.array(law.groups), family)])
    theta = draws(law.joint, index)
    return {
        f"{a} / {b}": (float(_ratio(law, law.joint.theta, a, b)), *ends(_ratio(law, theta, a, b)))
        for a, b in (("resnet", "vit"), ("resnet", "hybrid"), ("vit", "hybrid"))
    }


def _ratio(law: GroupFit, theta: np.ndarray, a: str, b: str):
    """exp((ln A_a - ln A_b) / alpha)."""
    one, other = (law.form.of(theta, law.groups.index(name)) for name in (a, b))
    return np.exp(np.clip((one[..., 1] - other[..., 1]) / np.maximum(one[..., 2], 1e-6), -50, 50))


def gap(compute: np.ndarray, family: np.ndarray, y: np.ndarray, at: float) -> tuple[float, float, float]:
    """Error of the hybrid over that of ViT at one compute; each family has a power law of its own."""
    sides = []
    for seed, name in enumerate(("hybrid", "vit")):
        mine = family == name
        found = fit(compute[mine], y[mine], "power", delta=WEAK)
        place = np.array([at])
        sides.append((found.log(place)[0], found.log(place, draws(found, compute[mine], seed))[:, 0]))
    middle, moved = (sides[0][i] - sides[1][i] for i in (0, 1))
    return float(np.exp(middle)), *ends(np.exp(moved))


def saturation(compute: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Local exponent -d ln y / d ln x of ViT at its largest compute over that at its smallest: 1 for a power law."""
    found = fit(compute, y, "power_floor", delta=WEAK)
    theta = draws(found, compute)
    return float(_slopes(found, compute, found.theta[None])[0]), *ends(_slopes(found, compute, theta))


def _slopes(found: Fit, compute: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Share of the falling term at the largest over that at the smallest compute."""
    u = np.log([[compute.min()], [compute.max()]]) - found.centre
    share = FORMS["power_floor"].log(theta, u)[1][..., 1, :]
    return share[:, 1] / share[:, 0]


def shown(values: tuple[float, float, float], places: int = 2) -> str:
    middle, lo, hi = (f"{v:.{places}f}" if v < 100 else "over 100" for v in values)
    return f"{middle} [{lo}, {hi}]"


def main() -> None:
    compute, family, found = errors()
    table = {metric: ratios(compute, family, y) for metric, y in found.items()}
    header = ["compute at equal error", *next(iter(table.values()))]
    show(header, [[metric, *map(shown, row.values())] for metric, row in table.items()])
    print()
    places = (100.0, 400.0, 1600.0)
    rows = [[m, *(shown(gap(compute, family, y, at)) for at in places)] for m, y in found.items()]
    show(["error of hybrid / ViT", *(f"{at:,.0f} exaFLOPs" for at in places)], rows)
    print()
    vit = family == "vit"
    rows = [[metric, shown(saturation(compute[vit], y[vit]))] for metric, y in found.items()]
    show(["slope of ViT at 4,262 over that at 55 exaFLOPs", "1 is no saturation, 0 is full"], rows)


if __name__ == "__main__":
    main()
