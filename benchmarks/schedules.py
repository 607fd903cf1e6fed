"""Does sharing bias the comparison? Shared trunks with short cool-downs against linear and cosine runs of their own.

Runs the study ``schedules`` on CIFAR-10 (or continues it) and prints the final error of every schedule, its ratio to
cosine's at the same family, budget and seed, and whether that ratio depends on the family. Intervals are 90 %, by
Student's t over pairs, in the logarithm of the error, where the laws are fitted.

    python -m benchmarks.schedules CIFAR10_ARCHIVE [key=value ...]
"""

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from statistics import fmean, stdev

from scipy.stats import t as student

from benchmarks.table import show
from pipeline.config import load
from pipeline.ledger import Ledger
from pipeline.manifest import read_manifest
from pipeline.store import Store

SWEEP = ["study=schedules", "recipe.schedule=wsd,linear,cosine", "recipe.cooldown=0.1,0.2,0.3"]
REFERENCE = "cosine"
LEVEL = 0.9

Key = tuple[str, str, int, int]
"""(family, schedule, budget, seed)."""


def errors(overrides: list[str]) -> dict[Key, float]:
    """Validation error of every trial that finished."""
    config = load(overrides).config
    store = Store(config.placement.store)
    rows = read_manifest(store, config.study.name).rows(Ledger(store))
    done = [row for row in rows if row["outcome"] == "done"]
    return {(r["family"], _schedule(r["setting"]), r["budget"], r["seed"]): r["val_error"] for r in done}


def _schedule(setting: str) -> str:
    fields = dict(part.split("=") for part in setting.split())
    shared = fields["schedule"] == "wsd"
    return f"WSD, {float(fields['cooldown']):.0%}" if shared else fields["schedule"]


def interval(values: list[float], say: Callable[[float], str]) -> str:
    """Mean and interval, a dash of nothing."""
    if not values:
        return "-"
    mean = fmean(values)
    if len(values) < 2:
        return say(mean)
    half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{say(mean)} [{say(mean - half)}, {say(mean + half)}]"


def logs(found: dict[Key, float], family: str, schedule: str) -> dict[tuple[int, int], float]:
    """ln of the error over the reference's, by budget and seed."""
    return {
        (budget, seed): math.log(error / found[family, REFERENCE, budget, seed])
        for (f, s, budget, seed), error in found.items()
        if (f, s) == (family, schedule) and (f, REFERENCE, budget, seed) in found
    }


def points(value: float) -> str:
    return f"{100 * value:.2f}"


def percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.1f} %"


def tables(found: dict[Key, float]) -> None:
    families = [f for f in ("vit", "hybrid", "resnet") if any(f == key[0] for key in found)]
    schedules = sorted({key[1] for key in found})
    budgets = sorted({key[2] for key in found})
    rows = []
    for family, schedule in product(families, schedules):
        cells = [[e for (f, s, b, _), e in found.items() if (f, s, b) == (family, schedule, at)] for at in budgets]
        rows.append([family, schedule, *(interval(cell, points) for cell in cells)])
    print("\nValidation error in %, mean over seeds")
    show(["family", "schedule", *(f"{b:,} samples" for b in budgets)], rows)
    ratios = {key: logs(found, *key) for key in product(families, schedules)}
    others = [s for s in schedules if s != REFERENCE]
    print(f"\nError against {REFERENCE}'s at the same budget and seed")
    show(
        ["schedule", *families], [[s, *(interval([*ratios[f, s].values()], percent) for f in families)] for s in others]
    )
    print("\nHow much more one family is hurt than the ResNet, at the same budget and seed")
    rows = []
    for schedule in others:
        base = ratios["resnet", schedule]
        rows.append([schedule])
        for family in families[:-1]:
            mine = ratios[family, schedule]
            rows[-1].append(interval([mine[k] - base[k] for k in sorted(mine.keys() & base.keys())], percent))
    show(["schedule", *(f"{f} against resnet" for f in families[:-1])], rows)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Say where CIFAR-10 is: python -m benchmarks.schedules CIFAR10_ARCHIVE [key=value ...]")
    words = [f"data.cifar10.path={sys.argv[1]}", *sys.argv[2:]]
    subprocess.run([sys.executable, "-m", "pipeline", "run", *SWEEP, *words], check=True)
    tables(errors(["study=schedules", *words]))


if __name__ == "__main__":
    main()
