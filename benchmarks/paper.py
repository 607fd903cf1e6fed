"""The tables of docs/paper.md, computed from the presets: exaFLOPs, parameters, ladders. Needs neither torch nor data.

python -m benchmarks.paper
"""

from dataclasses import replace

from benchmarks.table import text
from pipeline.arch import FAMILIES, ViT
from pipeline.config import load
from pipeline.prepared import plan_study
from pipeline.price import Row

TABLE_6 = {
    ("vit_b32", 7): ("ViT-B/32", 55),
    ("vit_b16", 7): ("ViT-B/16", 224),
    ("vit_l32", 7): ("ViT-L/32", 196),
    ("vit_l16", 7): ("ViT-L/16", 783),
    ("vit_l16", 14): ("ViT-L/16", 1567),
    ("vit_h14", 14): ("ViT-H/14", 4262),
    ("resnet50x1", 7): ("ResNet50x1", 50),
    ("resnet50x2", 7): ("ResNet50x2", 199),
    ("resnet101x1", 7): ("ResNet101x1", 96),
    ("resnet152x1", 7): ("ResNet152x1", 141),
    ("resnet152x2", 7): ("ResNet152x2", 563),
    ("resnet152x2", 14): ("ResNet152x2", 1126),
    ("resnet200x3", 14): ("ResNet200x3", 3306),
    ("hybrid_r50_b32", 7): ("R50x1+ViT-B/32", 106),
    ("hybrid_r50_b16", 7): ("R50x1+ViT-B/16", 274),
    ("hybrid_r50_l32", 7): ("R50x1+ViT-L/32", 246),
    ("hybrid_r50_l16", 7): ("R50x1+ViT-L/16", 859),
    ("hybrid_r50_l16", 14): ("R50x1+ViT-L/16", 1668),
}
"""exaFLOPs as printed in arXiv 2010.11929 v2, by preset and epochs."""
TABLE_1 = {"vit_b32": 86, "vit_b16": 86, "vit_l32": 307, "vit_l16": 307, "vit_h14": 632}
"""Parameters in millions, printed once for each size, whatever the patch."""
JFT_CLASSES = 18291
RUNGS = (1, 2, 3, 4, 6, 8, 12, 16)


def priced(*overrides: str) -> list[Row]:
    """The pre-trainings of Table 6, as `crossover plan study=paper_table6` prices them."""
    loaded = load(["study=paper_table6", "placement.store=memory://paper", *overrides])
    return plan_study(loaded, prepare_missing=False).quote.rows


def table_6() -> str:
    """Ours beside the paper's; ratios are ours to the paper's."""
    rows = []
    for row, headed in zip(priced(), priced(f"data.jft300m.classes={JFT_CLASSES}"), strict=True):
        name, paper = TABLE_6[row.arch, round(row.epochs)]
        assert row.flops_inside is not None and headed.flops_inside is not None
        plain, inside, head = (f / 1e18 for f in (row.flops, row.flops_inside, headed.flops_inside))
        ratios = [f"{ours:.1f} ({ours / paper:.3f})" for ours in (plain, inside, head)]
        rows.append([name, f"{row.epochs:.0f}", str(paper), *ratios])
    return text(["model", "epochs", "Table 6", "plain", "padding-excluded", "padding-excluded, with head"], rows)


def parameters() -> str:
    """Millions, at 224 px."""
    archs = load([f"arch=[{','.join(TABLE_1)}]"]).config.archs
    rows = []
    for name, printed in TABLE_1.items():
        arch = archs[name]
        assert isinstance(arch, ViT)
        with_layer = replace(arch, pre_logits=True).params(224, 3, 0)
        counts = (arch.params(224, 3, 0), with_layer, arch.params(224, 3, 1000))
        label = f"ViT-{name[4].upper()}/{name[5:]}"
        rows.append(
            [label, str(printed), *(f"{count / 1e6:.2f}" for count in counts), f"{with_layer / printed / 1e6:.3f}"]
        )
    return text(["model", "Table 1", "no head", "+ pre-logits", "+ 1000-class head", "pre-logits / Table 1"], rows)


def ladders() -> str:
    """Forward MFLOPs of one image, without head."""
    names = [f"{family}{size}" for size in (32, 64) for family in FAMILIES]
    archs = load([f"arch=[{','.join(f'{name}_d{n}' for name in names for n in RUNGS)}]"]).config.archs
    rows = []
    for n in RUNGS:
        costs = [archs[f"{name}_d{n}"].flops(int(name[-2:]), 3, 0) / 1e6 for name in names]
        rows.append([str(n), *(f"{cost:.4g}" for cost in costs)])
    span = [
        archs[f"{name}_d16"].flops(int(name[-2:]), 3, 0) / archs[f"{name}_d1"].flops(int(name[-2:]), 3, 0)
        for name in names
    ]
    return text(["rung", *names], [*rows, ["16 / 1", *(f"{ratio:,.0f}" for ratio in span)]])


if __name__ == "__main__":
    for made in (table_6, parameters, ladders):
        print(f"{made.__name__}\n\n{made()}\n")
