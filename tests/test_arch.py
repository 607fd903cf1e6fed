"""Closed forms against the paper (arXiv 2010.11929), and the shapes that check() refuses."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.arch import FAMILIES, Arch, Hybrid, Pool, ResNet, Root, ViT
from pipeline.errors import BadInput

MADE_ELSEWHERE = ("timm", "module")  # tests/test_external.py
FOLDER = Path(__file__).resolve().parent.parent / "conf" / "arch"
PRESETS = sorted(path for path in FOLDER.glob("*.yaml") if path.stem not in MADE_ELSEWHERE)
IMAGES = 303e6  # of JFT, section 4.1
SIZES = ("pico", "nano", "micro", "mini")

# Table 6: preset, epochs, exaFLOPs as printed, and forward GFLOPs of one 224 px image counted on timm's modules.
TABLE_6 = [
    ("vit_b32", 7, 55, 8.817),
    ("vit_b16", 7, 224, 35.126),
    ("vit_l32", 7, 196, 30.753),
    ("vit_l16", 7, 783, 123.107),
    ("vit_l16", 14, 1567, 123.107),
    ("vit_h14", 14, 4262, 334.588),
    ("resnet50x1", 7, 50, 8.174),
    ("resnet50x2", 7, 199, 32.225),
    ("resnet101x1", 7, 96, 15.599),
    ("resnet152x1", 7, 141, 23.023),
    ("resnet152x2", 7, 563, 91.621),
    ("resnet152x2", 14, 1126, 91.621),
    ("resnet200x3", 14, 3306, 268.682),
    ("hybrid_r50_b32", 7, 106, 16.914),
    ("hybrid_r50_b16", 7, 274, 43.069),
    ("hybrid_r50_l32", 7, 246, 38.825),
    ("hybrid_r50_l16", 7, 859, 131.076),
    ("hybrid_r50_l16", 14, 1668, 131.076),
]
# Rows that no convention explains: 55 against 56.1, and 859 where twice the epochs cost 1668.
OUTLIERS = {("vit_b32", 7), ("hybrid_r50_l16", 7)}


def read(path: Path) -> Arch:
    """The Arch of a preset, read without Hydra; a key that is no field raises TypeError."""
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    family = next(d["/schema/arch@_here_"] for d in values.pop("defaults") if isinstance(d, dict))
    enums = {"pool": Pool, "root": Root}
    return FAMILIES[family](**{k: enums[k][v] if k in enums else v for k, v in values.items()})


def preset(name: str) -> Arch:
    return read(next(p for p in PRESETS if p.stem == name))


def size_of(name: str) -> int:
    """Pixels of the images that a preset is meant for."""
    ladder = re.fullmatch(r"[a-z]+(\d+)_d\d+", name)
    return int(ladder[1]) if ladder else 32 if name.endswith(SIZES) else 224


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_a_preset_says_what_it_costs(path: Path) -> None:
    arch, size = read(path), size_of(path.stem)
    arch.check(size)
    first, comment = path.read_text().splitlines()[:2]
    assert first == f"# @package archs.{path.stem}"
    said = re.fullmatch(r"# At (\d+) px, without head: ([\d.]+) M parameters, ([\d.]+) GFLOPs forward .*", comment)
    assert said and int(said[1]) == size
    assert float(said[2]) == pytest.approx(arch.params(size, 3, 0) / 1e6, abs=0.00501)
    assert float(said[3]) == pytest.approx(arch.flops(size, 3, 0) / 1e9, rel=5e-4)
    assert arch.family == path.stem.split("_")[0].rstrip("0123456789x")


@pytest.mark.parametrize(
    ("name", "backbone", "with_pre_logits", "with_head", "table_1"),
    [
        ("vit_b32", 87.46, 88.05, 88.22, 86),
        ("vit_b16", 85.80, 86.39, 86.57, 86),
        ("vit_l32", 305.51, 306.56, 306.54, 307),
        ("vit_l16", 303.30, 304.35, 304.33, 307),
        ("vit_h14", 630.76, 632.40, 632.05, 632),
    ],
)
def test_parameters_are_the_papers(
    name: str, backbone: float, with_pre_logits: float, with_head: float, table_1: float
) -> None:
    """At 224 px, in millions: as computed for each patch size, and as Table 1 rounds one of them for all."""
    arch = preset(name)
    assert isinstance(arch, ViT)
    headed = replace(arch, pre_logits=True).params(224, 3, 0)
    assert arch.params(224, 3, 0) / 1e6 == pytest.approx(backbone, abs=0.00501)
    assert headed / 1e6 == pytest.approx(with_pre_logits, abs=0.00501)
    assert arch.params(224, 3, 1000) / 1e6 == pytest.approx(with_head, abs=0.00501)
    # 86M is B/16, 307M is L/32 and 632M is H/14, each with its pre-logits layer; B/32 has 2.4 % more.
    assert headed / 1e6 == pytest.approx(table_1, rel=0.025 if name == "vit_b32" else 0.01)


def test_every_model_of_the_paper_is_a_preset() -> None:
    names = {f"vit_{size}{patch}" for size in ("ti", "s", "halfb", "b", "l", "h", "g") for patch in (32, 16, 14, 8)}
    names |= {f"resnet{n}" for n in ("50x1", "50x2", "50x3", "101x1", "101x3", "152x1", "152x2", "152x4", "200x3")}
    names |= {f"hybrid_{n}" for n in ("r_ti16", "r26_s32", "r50_b32", "r50_b16", "r50_l32", "r50_l16")}
    assert names <= {path.stem for path in PRESETS}


@pytest.mark.parametrize(("name", "epochs", "exaflops", "forward"), TABLE_6)
def test_flops_are_those_of_table_6(name: str, epochs: int, exaflops: float, forward: float) -> None:
    arch = preset(name)
    assert arch.flops(224, 3, 0) / 1e9 == pytest.approx(forward, abs=0.00051)
    plain, inside = (3 * arch.flops(224, 3, 0, padding) * IMAGES * epochs / 1e18 for padding in (True, False))
    assert plain == pytest.approx(exaflops, rel=0.045)
    if (name, epochs) in OUTLIERS:
        assert inside != pytest.approx(exaflops, rel=0.015), "no longer an outlier: say so in the docs"
    else:
        assert inside == pytest.approx(exaflops, rel=0.01)


def test_the_closed_form_of_the_paper_reference() -> None:
    """2 [N P^2 C D + L (T (4 D^2 + 2 D M) + 2 T^2 D) + D K] for ViT-B/16."""
    n, t, d, m, k = 196, 197, 768, 3072, 1000
    expected = 2 * (n * 256 * 3 * d + 12 * (t * (4 * d * d + 2 * d * m) + 2 * t * t * d) + d * k)
    assert ViT().flops(224, 3, k) == expected


def test_small_families_are_matched_in_flops() -> None:
    """A step of the ladder costs the three families the same within 25 %, the next one 2.5 to 5 times as much."""
    table = {family: [preset(f"{family}_{size}").flops(32, 3, 0) for size in SIZES] for family in FAMILIES}
    for step in zip(*table.values(), strict=True):
        assert max(step) / min(step) < 1.25
    for costs in table.values():
        assert all(2.5 <= after / before <= 5 for before, after in pairwise(costs))


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_ladder_grows_in_proportion_over_three_decades(family: str, size: int) -> None:
    rungs = {n: preset(f"{family}{size}_d{n}") for n in (1, 2, 3, 4, 6, 8, 12, 16)}
    first = rungs[1]
    for n, arch in rungs.items():
        assert arch.family == family
        for name in ("depth", "width", "heads", "stem_width"):
            assert getattr(arch, name, n) == n * getattr(first, name, 1)
        assert getattr(arch, "depths", [n]) == [n] * len(getattr(first, "depths", [1]))
    costs = [arch.flops(size, 3, 0) for arch in rungs.values()]
    assert costs == sorted(costs)
    assert costs[-1] / costs[0] > 1000


def test_rungs_of_the_three_ladders_cost_about_the_same() -> None:
    for size in (32, 64):
        for n in (1, 2, 3, 4, 6, 8, 12, 16):
            costs = [preset(f"{family}{size}_d{n}").flops(size, 3, 0) for family in FAMILIES]
            assert max(costs) / min(costs) < 1.35, (size, n, costs)


def test_mean_pooling_drops_the_class_token() -> None:
    for make in (ViT, Hybrid):
        token, mean = make(), make(pool=Pool.mean)
        assert token.tokens(224) - mean.tokens(224) == 1
        assert token.params(224, 3, 10) - mean.params(224, 3, 10) == 2 * token.width
        assert token.flops(224, 3, 10) > mean.flops(224, 3, 10)


def test_padding_excluded_counts_less_only_where_there_is_padding() -> None:
    assert ViT().flops(224, 3, 0, padding=False) == ViT().flops(224, 3, 0)
    # One 3x3 root on 2x2 pixels has 4 outputs with 4 of 9 taps inside.
    with_padding, without = (ResNet([1], 2, Root.small, 1).flops(2, 1, 0, padding) for padding in (True, False))
    outputs, root, middle = 4, 1 * 2, 2 * 2
    assert with_padding - without == 2 * outputs * (9 - 4) * (root + middle)


@pytest.mark.parametrize(
    ("arch", "size", "words"),
    [
        (ViT(patch=16), 40, "16 px does not divide an image of 40 px"),
        (ViT(patch=64), 32, "does not divide"),
        (ViT(), 0, "image_size must be positive"),
        (ViT(), -16, "image_size must be positive"),
        (ViT(heads=5), 224, "5 heads do not divide a width of 768"),
        (ViT(depth=0), 224, "arch.depth must be positive"),
        (ViT(width=-8), 224, "arch.width must be positive"),
        (ViT(patch=0), 224, "arch.patch must be positive"),
        (ViT(mlp_ratio=0.0001), 224, "no hidden unit"),
        (ViT(mlp_ratio=-4.0), 224, "no hidden unit"),
        (ViT(mlp_ratio=float("nan")), 224, "no hidden unit"),
        (ViT(mlp_ratio=float("inf")), 224, "no hidden unit"),
        (ResNet(), 16, "smaller than the total stride 32"),
        (ResNet(), 0, "image_size must be positive"),
        (ResNet(depths=[]), 224, "at least one positive number"),
        (ResNet(depths=[3, 0, 3]), 224, "at least one positive number"),
        (ResNet(width=1), 224, "arch.width must be at least 2"),
        (ResNet(width=0), 224, "arch.width must be positive"),
        (ResNet(groups=0), 224, "arch.groups must be positive"),
        (ResNet([1, 1], 4, Root.small, 8), 2, "normalise every value by itself"),
        (Hybrid(stem_width=1), 224, "arch.stem_width must be at least 2"),
        (Hybrid(heads=7), 224, "7 heads do not divide"),
        (Hybrid(), 8, "smaller than the total stride 16"),
        (Hybrid(), -1, "image_size must be positive"),
    ],
)
def test_impossible_shapes_are_refused_in_one_sentence(arch: Arch, size: int, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        arch.check(size)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and not re.search(r"\. [A-Z]", message)


def test_every_field_of_a_preset_has_a_default() -> None:
    """Structured configs need one, and a new field must come with a neutral value."""
    for arch in FAMILIES.values():
        assert arch() == arch()
        assert {f.name for f in fields(arch)} >= {"width"}


def test_an_arch_needs_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import pipeline.arch;"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "['pipeline']"
