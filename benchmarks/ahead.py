"""Coverage of N*, D* and the loss at ten times the largest budget, and of each budget's own optimum, by simulation.

python -m benchmarks.ahead [simulations] [stream]

The surfaces are those of ``benchmarks.isoflop`` whose law the second route can hold; intervals are of nominal 95 %.
"""

import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.isoflop import CASES, DRAWS, FRESH, Case
from benchmarks.table import show
from pipeline.errors import BadInput
from pipeline.laws.isoflops.isoflop import isoflop
from pipeline.laws.isoflops.surface import surface

STREAM = 22
FLOPS = 1e22


def truth(case: Case) -> dict[str, float]:
    n = np.linspace(np.log(1e5), np.log(1e14), 400_001)
    d = np.log(FLOPS) - case.each(n)
    at = int(np.argmin(case.loss(n, d)))
    return {"N": float(np.exp(n[at])), "D": float(np.exp(d[at])), "loss": float(case.loss(n, d)[at])}


def simulate(case: Case, simulations: int, stream: int, place: int) -> Iterator[list[str]]:
    random = np.random.Generator(np.random.Philox(key=[stream, place]))
    true, (c, optima) = truth(case), case.optima()
    inside: dict[str, dict[str, list[bool]]] = {route: {name: [] for name in true} for route in ("valley", "surface")}
    own: list[bool] = []
    for seed in range(simulations):
        runs = case.runs(random, case.noise)
        try:
            found = isoflop(**runs, draws=DRAWS, seed=seed)
            other = surface(found, runs["size"], runs["samples"], runs["loss"])
        except BadInput:
            continue
        for route, share in (("valley", found.allocation.at(FLOPS)), ("surface", other.at(FLOPS))):
            for name, interval in zip(true, (share.size, share.samples, share.loss), strict=True):
                if interval:
                    inside[route][name].append(interval.lo <= true[name] <= interval.hi)
        for budget in found.budgets:
            if budget.size:
                n = float(np.exp(np.interp(np.log(budget.flops), c, optima)))
                own.append(budget.size.lo <= n <= budget.size.hi)
    for route, names in inside.items():
        cells = [_share(hits) for hits in names.values()]
        yield [case.name if route == "valley" else "", route, *cells, _share(own) if route == "valley" else ""]


def _share(hits: list[bool]) -> str:
    p = float(np.mean(hits))
    return f"{100 * p:.1f} +- {100 * np.sqrt(p * (1 - p) / len(hits)):.1f} %"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    stream = int(sys.argv[2]) if len(sys.argv) > 2 else STREAM
    cases = [case for case in CASES + FRESH if case.coupling == 1]
    header = ["surface", "route", "N at 1e22", "D at 1e22", "loss at 1e22", "own N of a budget"]
    show(header, [row for i, case in enumerate(cases) for row in simulate(case, count, stream, i)])
