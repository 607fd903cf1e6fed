"""CutMix against torchvision: pixel by pixel for given boxes, and in distribution; and beside mixup."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import CutMix

from pipeline.data.augment import draw_shares, mix_pairs
from pipeline.data.cutmix import draw_cuts, outside
from pipeline.data.mixup import mix
from pipeline.recipe import Recipe

DRAWN = 12_000


def noise(count: int, h: int, w: int) -> torch.Tensor:
    return torch.randn(count, 3, h, w, generator=torch.Generator().manual_seed(0))


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_a_pair_swaps_its_box_as_in_torchvision(h: int, w: int, data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    bottom, right = data.draw(st.integers(top, h)), data.draw(st.integers(left, w))
    images, labels = noise(2, h, w), torch.tensor([3, 1])
    transform: Any = CutMix(num_classes=5)
    kept = 1.0 - (right - left) * (bottom - top) / (w * h)
    params = {"labels": labels, "batch_size": 2, "box": (left, top, right, bottom), "lam_adjusted": kept}
    share = outside(torch.tensor([[top, left, bottom, right]]), h, w)
    assert torch.equal(mix(images, share), transform.transform(images, params))
    own = share.double().mean()
    assert own.item() == pytest.approx(kept)
    assert transform.transform(labels, params)[0, 3].item() == pytest.approx(own.item())


@pytest.mark.parametrize(("h", "w", "alpha"), [(32, 32, 1.0), (16, 40, 0.3)])
def test_boxes_and_shares_have_torchvisions_distribution(h: int, w: int, alpha: float) -> None:
    boxes = draw_cuts(1, torch.arange(DRAWN), 201, h, w, alpha)
    shares = outside(boxes, h, w).double().mean((1, 2, 3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transform, image = CutMix(alpha=alpha, num_classes=2), torch.empty(2, 3, h, w)
        drawn = [transform.make_params([image]) for _ in range(DRAWN)]
    left, top, right, bottom = torch.tensor([d["box"] for d in drawn]).T
    theirs = torch.stack([top, left, bottom, right], 1)
    columns = zip((*boxes.T, *sizes(boxes)), (*theirs.T, *sizes(theirs)), strict=True)
    for number, (mine, other) in enumerate(columns):
        assert likeness(mine, other) > 1e-3, number
    assert likeness(shares, torch.tensor([d["lam_adjusted"] for d in drawn], dtype=torch.float64)) > 1e-3


def likeness(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    test: Any = stats.ks_2samp(mine.numpy(), theirs.numpy())
    return test.pvalue


def sizes(boxes: torch.Tensor) -> list[torch.Tensor]:
    top, left, bottom, right = boxes.T
    return [bottom - top, right - left, (bottom - top) * (right - left), top + bottom, left + right]


def test_a_cut_is_given_and_taken() -> None:
    images, counters = noise(200, 8, 8), torch.arange(400, 600)
    mixed, own = mix_pairs(images, 4, counters, Recipe(cutmix=1.0))
    assert own is not None
    assert torch.equal(own[::2], own[1::2])
    partners = images.view(100, 2, 3, 8, 8).flip(1).view_as(images)
    kept, taken = mixed == images, mixed == partners
    assert (kept ^ taken).all()
    assert torch.equal(kept.double().mean((1, 2, 3)).float(), own)
    assert 0 < own.min() < own.max() <= 1


def test_a_pair_draws_mixup_or_cutmix_with_equal_chance() -> None:
    pairs = torch.arange(6000)
    both = draw_shares(7, pairs, 8, 8, Recipe(mixup=0.4, cutmix=1.0))
    cut = draw_shares(7, pairs, 8, 8, Recipe(cutmix=1.0)).float().expand_as(both)
    mixed = draw_shares(7, pairs, 8, 8, Recipe(mixup=0.4)).float().expand_as(both)
    is_cut, is_mixed = (both == cut).flatten(1).all(1), (both == mixed).flatten(1).all(1)
    assert (is_cut | is_mixed).all()
    assert stats.binomtest(int((is_cut & ~is_mixed).sum()), int((is_cut ^ is_mixed).sum())).pvalue > 1e-3
    weights = mixed[:, 0, 0, 0]
    assert likeness(weights[is_cut], weights[is_mixed]) > 1e-3


@settings(max_examples=30)
@given(
    st.integers(1, 12),
    st.integers(0, 2**40),
    st.integers(0, 2**31),
    st.integers(0, 12),
    st.sampled_from([{"cutmix": 1.0}, {"mixup": 0.3}, {"mixup": 0.3, "cutmix": 0.5}]),
)
def test_a_pair_does_not_depend_on_its_batch(
    pairs: int, first: int, seed: int, split: int, mixing: dict[str, float]
) -> None:
    recipe, cut = Recipe(**mixing), 2 * min(split, pairs)  # type: ignore[arg-type]
    images, counters = noise(2 * pairs, 5, 6), torch.arange(2 * first, 2 * (first + pairs))
    whole, own = mix_pairs(images, seed, counters, recipe)
    parts = [mix_pairs(images[s], seed, counters[s], recipe) for s in (slice(0, cut), slice(cut, None))]
    assert torch.equal(whole, torch.cat([images for images, _ in parts]))
    assert own is not None
    assert torch.equal(own, torch.cat([own for _, own in parts if own is not None]))
