"""Evaluate: every sample of a split exactly once, sums in float64.

Suffixes: B batch, C channels, H height, W width, K classes, D representation.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.data.augment import normalise
from pipeline.data.reader import Reader
from pipeline.models.resnet import KernelsOnce
from pipeline.placement import Precision

BATCH = 256


def to_model(images_BHWC: np.ndarray, device: torch.device) -> Tensor:
    """uint8 images from the reader to normalised float BCHW."""
    return normalise(torch.from_numpy(images_BHWC).to(device).permute(0, 3, 1, 2))


@torch.inference_mode()
def evaluate(model: nn.Module, reader: Reader, precision: Precision = Precision.fp32) -> dict[str, float]:
    """Error rate and mean cross-entropy over the whole split.

    Of multi-label data: how often the first guess is none of an image's labels (as ReaL counts, arXiv 2006.07159), and
    binary cross-entropy, summed over classes.
    """
    device = next(model.parameters()).device
    model.eval()
    wrong, loss = 0, 0.0
    with KernelsOnce(model):
        for ids in np.array_split(np.arange(len(reader)), max(1, -(-len(reader) // BATCH))):
            images, labels = reader.gather(ids)
            target = torch.from_numpy(labels).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision is Precision.bf16):
                logits_BK = model(to_model(images, device))
            loss += float(_loss(logits_BK.double(), target))
            wrong += int((~_right(logits_BK.argmax(1), target)).sum())
    return {"error": wrong / len(reader), "loss": loss / len(reader)}


def _loss(logits_BK: Tensor, target: Tensor) -> Tensor:
    if target.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits_BK, target.double(), reduction="sum")
    return F.cross_entropy(logits_BK, target, reduction="sum")


def _right(guess_B: Tensor, target: Tensor) -> Tensor:
    if target.ndim == 2:
        return target.gather(1, guess_B[:, None])[:, 0] > 0
    return guess_B == target


@torch.inference_mode()
def features(model: nn.Module, reader: Reader, ids: np.ndarray) -> np.ndarray:
    """Frozen representations of the named images, float64 (len(ids), D)."""
    device = next(model.parameters()).device
    model.eval()
    parts = []
    with KernelsOnce(model):
        for part in np.array_split(ids, max(1, -(-len(ids) // BATCH))):
            images, _ = reader.gather(part)
            parts.append(model.features(to_model(images, device)).double().cpu().numpy())  # type: ignore[operator]
    return np.concatenate(parts)
