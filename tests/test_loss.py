"""The loss of plain, smoothed, mixed and multi-hot labels."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.recipe import Loss, Recipe
from pipeline.training.loss import training_loss

SMOOTHING = pytest.mark.parametrize("smoothing", [0.0, 0.2])


def logits(rows: int, classes: int) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("loss", list(Loss))
@SMOOTHING
def test_the_loss_of_mixed_labels_is_the_mixed_loss(loss: Loss, smoothing: float, multi_hot: bool) -> None:
    x, weights = logits(6, 5), torch.tensor([0.3, 0.3, 0.9, 0.9, 0.5, 0.5])
    labels = torch.tensor([0, 1, 2, 3, 4, 4])
    if multi_hot:
        labels = (F.one_hot(labels, 5) + F.one_hot((labels * 2) % 5, 5)).clamp(max=1).float()
    recipe = Recipe(loss=loss, label_smoothing=smoothing)
    each = [training_loss(x[i : i + 1], labels[i : i + 1], recipe) for i in range(6)]
    others = [training_loss(x[i : i + 1], labels[i ^ 1 : (i ^ 1) + 1], recipe) for i in range(6)]
    expected = sum(w * own + (1 - w) * other for w, own, other in zip(weights, each, others, strict=True)) / 6
    torch.testing.assert_close(training_loss(x, labels, recipe, weights), expected)


@pytest.mark.parametrize("loss", list(Loss))
@SMOOTHING
def test_one_label_as_a_row_is_the_label(loss: Loss, smoothing: float) -> None:
    x, labels = logits(4, 5), torch.tensor([0, 4, 2, 2])
    recipe = Recipe(loss=loss, label_smoothing=smoothing)
    plain = training_loss(x, labels, recipe)
    torch.testing.assert_close(training_loss(x, F.one_hot(labels, 5).float(), recipe), plain)


def test_the_sigmoid_loss_sums_over_classes() -> None:
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    x = logits(2, 3)
    expected = -(target * F.logsigmoid(x) + (1 - target) * F.logsigmoid(-x)).sum() / 2
    torch.testing.assert_close(training_loss(x, target, Recipe(loss=Loss.sigmoid)), expected)
    one = F.binary_cross_entropy_with_logits(x, F.one_hot(torch.tensor([0, 2]), 3).float()) * 3
    torch.testing.assert_close(training_loss(x, torch.tensor([0, 2]), Recipe(loss=Loss.sigmoid)), one)


def test_softmax_shares_an_image_out_among_its_labels() -> None:
    x, target = logits(3, 4), torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    log_p = x.log_softmax(1)
    expected = -((log_p[0, 0] + log_p[0, 2]) / 2 + log_p[1, 3]) / 3
    torch.testing.assert_close(training_loss(x, target, Recipe()), expected)


@pytest.mark.parametrize("loss", list(Loss))
def test_an_image_without_labels_is_no_class(loss: Loss) -> None:
    """Softmax learns nothing from it, sigmoid that it is none of them."""
    x = logits(1, 4).requires_grad_()
    training_loss(x, torch.zeros(1, 4), Recipe(loss=loss)).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert bool((x.grad > 0).all()) == (loss is Loss.sigmoid)
    assert bool((x.grad == 0).all()) == (loss is Loss.softmax)
