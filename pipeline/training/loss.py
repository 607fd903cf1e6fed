"""Loss: softmax or sigmoid cross-entropy, of plain, multi-hot, smoothed and mixed labels.

Suffixes: B batch, K classes.
"""

import torch.nn.functional as F
from torch import Tensor

from pipeline.data.mixup import partner
from pipeline.recipe import Loss, Recipe


def training_loss(logits_BK: Tensor, labels: Tensor, recipe: Recipe, weights_B: Tensor | None = None) -> Tensor:
    """Mean over the batch; the sigmoid form sums over classes (arXiv 2010.11929, appendix B).

    ``labels`` are classes, int64 (B,), or multi-hot, float (B, K): softmax then has an image's labels in equal parts,
    or none. ``weights_B`` are the shares of each sample's own label in a mixed pair.
    """
    if recipe.loss is Loss.softmax and weights_B is None and labels.ndim == 1:
        return F.cross_entropy(logits_BK, labels, label_smoothing=recipe.label_smoothing)
    target_BK = (F.one_hot(labels, logits_BK.shape[1]) if labels.ndim == 1 else labels).to(logits_BK.dtype)
    if recipe.loss is Loss.softmax and labels.ndim == 2:
        target_BK = target_BK / target_BK.sum(1, keepdim=True).clamp(min=1)
    if weights_B is not None:
        share = weights_B[:, None].to(target_BK.dtype)
        target_BK = target_BK * share + partner(target_BK) * (1 - share)
    if recipe.loss is Loss.softmax:
        return F.cross_entropy(logits_BK, target_BK, label_smoothing=recipe.label_smoothing)
    target_BK = target_BK * (1 - recipe.label_smoothing) + recipe.label_smoothing / logits_BK.shape[1]
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="sum") / len(labels)
