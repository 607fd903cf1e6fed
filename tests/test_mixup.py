"""Mixup: pairs, their weights, and the loss of mixed labels."""

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from pipeline.data.mixup import mix, partner
from pipeline.errors import BadInput
from pipeline.recipe import Loss, Recipe
from pipeline.training.loss import training_loss


@pytest.mark.parametrize("alpha", [0.1, 0.8, 4.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    _, weights = mix(torch.zeros(40_000, 1, 1, 1), 0, torch.arange(40_000), 200, alpha)
    assert torch.equal(weights[::2], weights[1::2])
    for bound in (0.01, 0.1, 0.3, 0.5, 0.8, 0.99):  # below and above, float32 piles up at 0 and 1
        share = (weights[::2] <= bound).float().mean().item()
        assert share == pytest.approx(stats.beta(alpha, alpha).cdf(bound), abs=0.012)


def test_a_pair_is_mixed_both_ways_whatever_the_batch() -> None:
    images = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    counters = torch.arange(100, 108)
    mixed, weights = mix(images, 4, counters, 200, 0.8)
    for i in range(8):
        expected = images[i] * weights[i] + images[i ^ 1] * (1 - weights[i])
        torch.testing.assert_close(mixed[i], expected)
    assert torch.equal(mixed[4:], mix(images[4:], 4, counters[4:], 200, 0.8)[0])
    assert torch.equal(partner(torch.arange(4)), torch.tensor([1, 0, 3, 2]))


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_mixed_labels_is_the_mixed_loss(loss: Loss, smoothing: float) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    labels, weights = torch.tensor([0, 1, 2, 3, 4, 4]), torch.tensor([0.3, 0.3, 0.9, 0.9, 0.5, 0.5])
    recipe = Recipe(loss=loss, label_smoothing=smoothing)
    each = [training_loss(logits[i : i + 1], labels[i : i + 1], recipe) for i in range(6)]
    others = [training_loss(logits[i : i + 1], labels[i ^ 1 : (i ^ 1) + 1], recipe) for i in range(6)]
    expected = sum(w * own + (1 - w) * other for w, own, other in zip(weights, each, others, strict=True)) / 6
    torch.testing.assert_close(training_loss(logits, labels, recipe, weights), expected)


def test_the_sigmoid_loss_sums_over_classes() -> None:
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 2])
    target = F.one_hot(labels, 3).float()
    expected = F.binary_cross_entropy_with_logits(logits, target) * 3
    torch.testing.assert_close(training_loss(logits, labels, Recipe(loss=Loss.sigmoid)), expected)


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="whole pairs"):
        mix(torch.zeros(3, 1, 1, 1), 0, torch.arange(3), 200, 1.0)
    with pytest.raises(BadInput, match="even"):
        Recipe(mixup=0.2, batch_size=33)
