"""Loss: softmax or sigmoid cross-entropy, of plain, smoothed and mixed labels.

Suffixes: B batch, K classes.
"""

import torch.nn.functional as F
from torch import Tensor

from pipeline.data.mixup import partner
from pipeline.recipe import Loss, Recipe


def training_loss(logits_BK: Tensor, labels_B: Tensor, recipe: Recipe, weights_B: Tensor | None = None) -> Tensor:
    """Mean over the batch; the sigmoid form sums over classes (arXiv 2010.11929, appendix B).

    ``weights_B`` are mixup's shares of each sample's own label.
    """
    if recipe.loss is Loss.softmax and weights_B is None:
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=recipe.label_smoothing)
    target_BK = F.one_hot(labels_B, logits_BK.shape[1]).to(logits_BK.dtype)
    if weights_B is not None:
        share = weights_B[:, None].to(target_BK.dtype)
        target_BK = target_BK * share + partner(target_BK) * (1 - share)
    if recipe.loss is Loss.softmax:
        return F.cross_entropy(logits_BK, target_BK, label_smoothing=recipe.label_smoothing)
    target_BK = target_BK * (1 - recipe.label_smoothing) + recipe.label_smoothing / logits_BK.shape[1]
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="sum") / len(labels_B)
