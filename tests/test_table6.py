"""The shipped example: Table 6 of the ViT paper, and the ratios read from it."""

import numpy as np
import pytest

from benchmarks.table6 import errors, gap, ratios, saturation


def test_the_table_is_whole() -> None:
    compute, family, found = errors()
    assert [int((family == name).sum()) for name in ("vit", "resnet", "hybrid")] == [6, 7, 5]
    assert compute.min() == 50 and compute.max() == 4262
    assert all(len(y) == 18 and (y > 0).all() and (y < 23).all() for y in found.values())


def test_ratio_of_made_families_is_found() -> None:
    compute, family, _ = errors()
    less = {"vit": 1.0, "resnet": 3.0, "hybrid": 0.5}
    need = compute / np.array([less[name] for name in family])
    made = ratios(compute, family, 2.0 + 30.0 * need**-0.4)
    assert made["resnet / vit"][0] == pytest.approx(3.0, rel=1e-4)
    assert made["vit / hybrid"][0] == pytest.approx(2.0, rel=1e-4)


def test_what_the_docs_conclude() -> None:
    compute, family, found = errors()
    middle, lo, hi = ratios(compute, family, found["average of 5"])["resnet / vit"]
    assert 2 < lo < middle < 4 < hi < 6
    assert gap(compute, family, found["ImageNet"], 100)[2] < 1 < gap(compute, family, found["ImageNet"], 1600)[2]
    vit = family == "vit"
    assert saturation(compute[vit], found["ImageNet"][vit])[2] < 1
