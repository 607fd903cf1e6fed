"""Chance: the randomness inside a model, as a pure function of (seed, sample counter, layer).

Told which samples a batch holds, dropout and stochastic depth draw the same masks for a sample however the batch is
cut into micro-batches and shared by devices, and whenever a run is resumed. Told nothing, they draw from torch's
global generator, as everybody's do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.data import draws

STREAM = 1000
"""First stream of the layers; those below belong to augmentation."""


class Chance:
    """Shared by all random layers of one model."""

    def __init__(self) -> None:
        self.seed = 0
        self.counters_B: Tensor | None = None
        self.layers = 0

    def set(self, seed: int, counters_B: Tensor) -> None:
        """The samples of the next forward pass."""
        self.seed, self.counters_B = seed, counters_B

    def layer(self) -> int:
        """A stream for one more layer."""
        self.layers += 1
        return STREAM + self.layers - 1

    def keep(self, stream: int, shape: torch.Size, probability: float) -> Tensor | None:
        """A mask (B, *shape), or None when nobody said which samples these are."""
        if self.counters_B is None:
            return None
        return draws.keep(self.seed, self.counters_B, stream, shape, probability)


class Dropout(nn.Dropout):
    """Zeroes elements with chance ``p`` and scales the rest up."""

    def __init__(self, p: float, chance: Chance) -> None:
        super().__init__(p)
        self.chance, self.stream = chance, chance.layer()

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        kept = self.chance.keep(self.stream, input.shape[1:], 1 - self.p)
        return F.dropout(input, self.p) if kept is None else input * kept / (1 - self.p)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): zeroes the branch of whole samples with chance ``p``."""

    def __init__(self, p: float, chance: Chance) -> None:
        super().__init__()
        self.p = p
        self.chance, self.stream = chance, chance.layer()

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return branch
        shape = torch.Size([1] * (branch.ndim - 1))
        kept = self.chance.keep(self.stream, shape, 1 - self.p)
        if kept is None:
            kept = torch.rand((len(branch), *shape), device=branch.device) >= self.p
        return branch * kept / (1 - self.p)
