"""Mixup: pairs and their weights."""

from typing import Any

import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import MixUp

from pipeline.data.augment import mix_pairs
from pipeline.data.mixup import draw_weights, mix, partner
from pipeline.errors import BadInput
from pipeline.recipe import Recipe


@pytest.mark.parametrize("alpha", [0.1, 0.8, 4.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    weights = draw_weights(0, torch.arange(20_000), 200, alpha)
    for bound in (0.01, 0.1, 0.3, 0.5, 0.8, 0.99):  # below and above, float32 piles up at 0 and 1
        share = (weights <= bound).float().mean().item()
        assert share == pytest.approx(stats.beta(alpha, alpha).cdf(bound), abs=0.012)
    inner = weights[(weights > 0.01) & (weights < 0.99)].numpy()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transform = MixUp(alpha=alpha, num_classes=2)
        theirs = [transform.make_params([])["lam"] for _ in range(10_000)]
    test: Any = stats.ks_2samp(inner, [w for w in theirs if 0.01 < w < 0.99])
    assert test.pvalue > 1e-3


def test_a_pair_is_mixed_as_in_torchvision() -> None:
    images, share = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), 0.3
    params = {"labels": torch.tensor([0, 1]), "batch_size": 2, "lam": share}
    theirs = MixUp(num_classes=2).transform(images, params)
    torch.testing.assert_close(mix(images, torch.full((1, 1, 1, 1), share)), theirs)


def test_a_pair_is_mixed_both_ways_whatever_the_batch() -> None:
    images = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    counters, recipe = torch.arange(100, 108), Recipe(mixup=0.8)
    mixed, weights = mix_pairs(images, 4, counters, recipe)
    assert weights is not None
    assert torch.equal(weights[::2], weights[1::2])
    for i in range(8):
        expected = images[i] * weights[i] + images[i ^ 1] * (1 - weights[i])
        torch.testing.assert_close(mixed[i], expected)
    assert torch.equal(mixed[4:], mix_pairs(images[4:], 4, counters[4:], recipe)[0])
    assert torch.equal(partner(torch.arange(4)), torch.tensor([1, 0, 3, 2]))


def test_the_weights_never_move() -> None:
    """Recorded once: a change here would make old and new results differ in secret."""
    assert draw_weights(3, torch.tensor([0, 1, 2**40]), 200, 0.2).tolist() == pytest.approx(GOLDEN, rel=1e-12)


def test_a_recipe_that_mixes_nothing_leaves_images_alone() -> None:
    images = torch.zeros(3, 1, 1, 1)
    assert mix_pairs(images, 0, torch.arange(3), Recipe()) == (images, None)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_half_a_pair_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="whole pairs"):
        mix_pairs(torch.zeros(3, 1, 1, 1), 0, torch.arange(3), Recipe(**{name: 1.0}))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=rf"recipe\.{name} mixes pairs.*even"):
        Recipe(batch_size=33, **{name: 0.2})  # type: ignore[arg-type]


GOLDEN = [0.9999999999987317, 0.003369450725861973, 0.9999986553992622]
