"""FLOPs saved by shared trunks: what a plan executes against the least possible, (1 - c) max(B) + c sum(B).

python -m benchmarks.sharing
"""

from benchmarks.table import show
from pipeline.arch import ViT
from pipeline.config import load
from pipeline.plan import build_plan
from pipeline.prepared import plan_study
from pipeline.recipe import Recipe
from pipeline.study import Study, expand
from pipeline.subset import Dataset

COOLDOWN = 0.2
DATA = Dataset("toy", "0" * 64, 10_000, 10, 32, 3, 1000)
ARCH = ViT(patch=8, depth=2, width=32, heads=2)


def sweep(factor: float, count: int = 8) -> list[str]:
    """Eight budgets a factor apart, in whole batches whose cool-down is whole too."""
    budgets = [50 * round(1000 * factor**k) for k in range(count)]
    recipe = Recipe(batch_size=10, cooldown=COOLDOWN)
    plan = build_plan(expand(Study(data="toy", budgets=budgets), {"v": ARCH}, [recipe], {"toy": DATA}), {"toy": DATA})
    per_sample = 3 * ARCH.flops(32, 3, 10)
    least = round(((1 - COOLDOWN) * max(budgets) + COOLDOWN * sum(budgets)) * per_sample)
    return [
        f"8 budgets, x{factor:.3g}, c = {COOLDOWN:.0%}",
        f"{plan.flops:.6g}",
        "exactly" if plan.flops == least else f"{plan.flops / least:.6f} x",
        f"{1 - plan.flops / plan.flops_unshared:.1%}",
    ]


def quickstart() -> list[str]:
    plan = plan_study(load(["study=quickstart", "placement.store=memory://bench"]), prepare_missing=False).plan
    saved = 1 - plan.flops / plan.flops_unshared
    return ["quickstart, transfers included", f"{plan.flops:.6g}", "", f"{saved:.1%}"]


if __name__ == "__main__":
    show(["sweep", "FLOPs executed", "the least possible", "saved"], [sweep(2**0.5), sweep(2.0), quickstart()])
