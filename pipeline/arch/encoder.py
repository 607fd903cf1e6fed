"""The transformer encoder, shared by ViT and Hybrid: its counts in closed form."""

import math
from enum import Enum
from typing import Protocol

from pipeline.errors import BadInput


class Pool(Enum):
    """What the head sees: the class token, or the mean of the patch tokens."""

    cls = "cls"
    mean = "mean"


class EncoderShape(Protocol):
    depth: int
    width: int
    heads: int
    mlp_ratio: float
    pool: Pool
    pre_logits: bool


def hidden(arch: EncoderShape) -> int:
    """Width of the MLP."""
    return round(arch.width * arch.mlp_ratio)


def encoder_params(arch: EncoderShape, tokens: int, classes: int) -> int:
    """Class token, positions, blocks, final norm, pre-logits layer and head."""
    d, m = arch.width, hidden(arch)
    block = (4 * d * d + 4 * d) + (2 * d * m + m + d) + 4 * d
    body = tokens * d + (d if arch.pool is Pool.cls else 0) + arch.depth * block + 2 * d
    return body + (d * d + d if arch.pre_logits else 0) + (d + 1) * classes


def encoder_flops(arch: EncoderShape, tokens: int, classes: int) -> int:
    d, m = arch.width, hidden(arch)
    blocks = 2 * arch.depth * (tokens * (4 * d * d + 2 * d * m) + 2 * tokens**2 * d)
    return blocks + (2 * d * d if arch.pre_logits else 0) + 2 * d * classes


def check_encoder(arch: EncoderShape) -> None:
    """Raises BadInput for heads or an MLP that cannot be."""
    if arch.width % arch.heads:
        raise BadInput(f"{arch.heads} heads do not divide a width of {arch.width}: change arch.heads or arch.width.")
    if not (math.isfinite(arch.mlp_ratio) and hidden(arch) >= 1):
        raise BadInput(
            f"An arch.mlp_ratio of {arch.mlp_ratio} at a width of {arch.width} leaves the MLP no hidden unit: use 4."
        )
