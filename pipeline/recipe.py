"""Recipe: how an Arch is trained, and the rules that turn (arch, budget) into numbers.

Units: ``warmup`` and ``budget`` are samples seen, never steps, so a recipe means the same at any batch size.
"""

import math
from dataclasses import dataclass, field, replace
from enum import Enum

from pipeline.errors import BadInput, nearest

FAMILY_NAMES = ("vit", "hybrid", "resnet")


class Optimizer(Enum):
    adamw = "adamw"
    sgd = "sgd"


class Schedule(Enum):
    """``wsd``: warm-up, stable, decay; its trunk is shared by all budgets. The others share nothing."""

    wsd = "wsd"
    linear = "linear"
    cosine = "cosine"


class Loss(Enum):
    softmax = "softmax"
    sigmoid = "sigmoid"


@dataclass
class Recipe:
    """Training of one Arch. Every field is science; hardware lives in Placement."""

    batch_size: int = 64
    """Images per optimiser step, over all devices."""
    optimizer: Optimizer = Optimizer.adamw
    lr: float = 1e-3
    """Peak learning rate, before ``lr_family``."""
    lr_family: dict[str, float] = field(default_factory=dict)
    """Factor on ``lr`` by family (vit, hybrid, resnet); resolved to one number in every Trial."""
    schedule: Schedule = Schedule.wsd
    warmup: int = 2048
    """Linear warm-up, samples seen. Absolute, so that every budget shares it."""
    cooldown: float = 0.2
    """Share of the budget spent in the decay of ``wsd`` (Haegele et al. 2024)."""
    weight_decay: float = 0.05
    """Decoupled (AdamW), on kernels only: not on biases, norms, class token or position embeddings."""
    beta1: float = 0.9
    beta2: float = 0.99
    momentum: float = 0.9
    """Of SGD."""
    clip: float = 1.0
    """Global gradient norm; 0 turns clipping off."""
    loss: Loss = Loss.softmax
    label_smoothing: float = 0.0
    dropout: float = 0.0
    crop_padding: int = 4
    """Pixels of zero padding before a random crop back to size; 0 turns it off."""
    flip: bool = True
    """Random horizontal flip."""

    def __post_init__(self) -> None:
        _positive("recipe.batch_size", self.batch_size)
        _positive("recipe.lr", self.lr)
        _within("recipe.cooldown", self.cooldown, 0.0, 1.0)
        _within("recipe.label_smoothing", self.label_smoothing, 0.0, 0.999)
        _within("recipe.dropout", self.dropout, 0.0, 0.999)
        for name in ("warmup", "weight_decay", "clip", "crop_padding"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"recipe.{name} must not be negative, not {getattr(self, name)}.")
        for name in ("beta1", "beta2", "momentum"):
            _within(f"recipe.{name}", getattr(self, name), 0.0, 0.99999)
        for family, factor in self.lr_family.items():
            if family not in FAMILY_NAMES:
                raise BadInput(f"recipe.lr_family has no family {family!r}: {nearest(family, FAMILY_NAMES)}")
            _positive(f"recipe.lr_family.{family}", factor)

    def resolve(self, family: str) -> "Recipe":
        """The recipe with every rule turned into a number for one family; what a Trial holds."""
        return replace(self, lr=self.lr * self.lr_family.get(family, 1.0), lr_family={})

    def steps(self, budget: int) -> int:
        """Optimiser steps for a budget in samples seen, rounded up to whole batches."""
        return max(1, -(-budget // self.batch_size))

    def cooldown_steps(self, steps: int) -> int:
        """Steps of the decay of a run of ``steps``; all shared-trunk accounting uses this number."""
        if self.schedule is not Schedule.wsd:
            return 0
        return min(steps, max(1, round(self.cooldown * steps))) if self.cooldown > 0 else 0

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of 0-based ``step`` in a run of ``steps``.

        wsd: linear warm-up, constant, then linear to zero over the cool-down (Haegele et al. 2024, section 3).
        The stable part does not depend on ``steps``, which is what lets budgets share a trunk.
        """
        warm = min(1.0, (step + 1) * self.batch_size / self.warmup) if self.warmup else 1.0
        if self.schedule is Schedule.wsd:
            decay = self.cooldown_steps(steps)
            left = steps - step
            return self.lr * warm * (left / (decay + 1) if left <= decay else 1.0)
        progress = (step + 1) / (steps + 1)
        if self.schedule is Schedule.cosine:
            return self.lr * warm * 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.lr * warm * (1.0 - progress)


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise BadInput(f"{name} must be a positive number, not {value}.")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadInput(f"{name} must lie between {low:g} and {high:g}, not {value}.")
