"""Recipe: how an Arch is trained, and the rules that turn (arch, budget) into numbers.

Units: ``warmup`` and ``budget`` are samples seen, never steps, so a recipe means the same at any batch size.
"""

import math
from dataclasses import dataclass, field, fields, replace
from enum import Enum

from pipeline.errors import BadInput, nearest

KIND_NAMES = ("vit", "hybrid", "resnet", "timm", "module")


class Optimizer(Enum):
    adamw = "adamw"
    sgd = "sgd"


class Schedule(Enum):
    """``wsd``: warm-up, stable, decay. ``rsqrt``: falls as 1 / sqrt(time) until its decay (Zhai et al. 2022, section
    3.3). Their trunk is shared by all budgets; the others share nothing."""

    wsd = "wsd"
    rsqrt = "rsqrt"
    linear = "linear"
    cosine = "cosine"


class Loss(Enum):
    softmax = "softmax"
    sigmoid = "sigmoid"


class MomentumDtype(Enum):
    """Storage of the first moment; bf16 halves it, as the official code does."""

    fp32 = "fp32"
    bf16 = "bf16"


@dataclass
class Recipe:
    """Training of one Arch. Every field is science; hardware lives in Placement."""

    batch_size: int = 64
    """Images per optimiser step, over all devices."""
    optimizer: Optimizer = Optimizer.adamw
    lr: float = 1e-3
    """Peak learning rate, before ``lr_family`` and ``lr_arch``."""
    lr_family: dict[str, float] = field(default_factory=dict)
    """Factor on ``lr`` by kind of arch (vit, hybrid, resnet, timm, module), whatever family an arch is compared as;
    resolved to one number in every Trial."""
    lr_arch: dict[str, float] = field(default_factory=dict, metadata={"neutral": {}})
    """Peak rate by arch preset, used or not, in place of ``lr`` x ``lr_family``; resolved likewise."""
    lr_end: float = field(default=0.0, metadata={"neutral": 0.0})
    """Where the decay ends. The official code's linear decay ends at 1e-5."""
    schedule: Schedule = Schedule.wsd
    warmup: int = 2048
    """Linear warm-up, samples seen. Absolute, so that every budget shares it."""
    cooldown: float = 0.2
    """Share of the budget spent in the decay of ``wsd`` and ``rsqrt`` (Haegele et al. 2024)."""
    timescale: int = field(default=0, metadata={"neutral": 0})
    """Of ``rsqrt``, samples: the rate is ``lr`` / sqrt(1 + samples since warm-up / timescale)."""
    weight_decay: float = 0.05
    """Decoupled (AdamW), on kernels only: not on biases, norms, class token or position embeddings."""
    beta1: float = 0.9
    beta2: float = 0.99
    momentum: float = 0.9
    """Of SGD."""
    momentum_dtype: MomentumDtype = field(default=MomentumDtype.fp32, metadata={"neutral": MomentumDtype.fp32})
    clip: float = 1.0
    """Global gradient norm; 0 turns clipping off."""
    loss: Loss = Loss.softmax
    head_bias: float = field(default=0.0, metadata={"neutral": 0.0})
    """Of every class at the start; about -ln(classes) lets the sigmoid loss begin at its prior (official code: -10)."""
    label_smoothing: float = 0.0
    dropout: float = 0.0
    drop_path: float = field(default=0.0, metadata={"neutral": 0.0})
    """Stochastic depth: the last block's chance to be skipped, growing linearly from 0 (Huang et al. 2016)."""
    polyak: float = field(default=0.0, metadata={"neutral": 0.0})
    """Decay per step of an average of the weights, which is what is evaluated and transferred; 0 turns it off."""
    crop_padding: int = 4
    """Pixels of zero padding before a random crop back to size; 0 turns it off."""
    crop_area: float = field(default=0.0, metadata={"neutral": 0.0})
    """Smallest share of the area that a random resized crop keeps, at aspect 3/4 to 4/3 (Inception crop: 0.05); 0
    turns it off."""
    flip: bool = True
    """Random horizontal flip."""
    colour: float = field(default=0.0, metadata={"neutral": 0.0})
    """Jitter of brightness, contrast and saturation, in random order: factors from max(0, 1 - colour) to 1 + colour."""
    hue: float = field(default=0.0, metadata={"neutral": 0.0})
    """Jitter of the hue, in turns of the colour circle to either side: 0 to 0.5."""
    randaugment_layers: int = field(default=0, metadata={"neutral": 0})
    """Operations per image (RandAugment, arXiv 1909.13719); 0 turns it off."""
    randaugment_magnitude: int = field(default=10, metadata={"neutral": 10})
    """Of RandAugment, 0 to 30."""
    mixup: float = field(default=0.0, metadata={"neutral": 0.0})
    """Alpha of the Beta distribution of mixup (arXiv 1710.09412); 0 turns it off."""
    cutmix: float = field(default=0.0, metadata={"neutral": 0.0})
    """Alpha of the Beta distribution of CutMix (arXiv 1905.04899); 0 turns it off. With mixup, a pair of images draws
    one of the two."""

    def __post_init__(self) -> None:
        _positive("recipe.batch_size", self.batch_size)
        _positive("recipe.lr", self.lr)
        _within("recipe.cooldown", self.cooldown, 0.0, 1.0)
        _within("recipe.label_smoothing", self.label_smoothing, 0.0, 0.999)
        for name in ("dropout", "drop_path"):
            _within(f"recipe.{name}", getattr(self, name), 0.0, 0.999)
        _within("recipe.crop_area", self.crop_area, 0.0, 1.0)
        _within("recipe.hue", self.hue, 0.0, 0.5)
        _within("recipe.randaugment_magnitude", self.randaugment_magnitude, 0, 30)
        numbers = ("warmup", "weight_decay", "clip", "crop_padding", "lr_end", "timescale")
        for name in (*numbers, "colour", "mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"recipe.{name} must be a number and not negative, not {getattr(self, name)}.")
        if self.mixes_pairs and self.batch_size % 2:
            name = "mixup" if self.mixup else "cutmix"
            raise BadInput(f"recipe.{name} mixes pairs: make recipe.batch_size even, not {self.batch_size}.")
        if self.randaugment_layers < 0:
            raise BadInput(f"recipe.randaugment_layers must not be negative, not {self.randaugment_layers}.")
        if self.schedule is Schedule.rsqrt and not self.timescale:
            raise BadInput("recipe.schedule=rsqrt needs recipe.timescale, in samples, for example 40960000.")
        if not math.isfinite(self.head_bias):
            raise BadInput(f"recipe.head_bias must be finite, not {self.head_bias}.")
        for name in ("beta1", "beta2", "momentum", "polyak"):
            _within(f"recipe.{name}", getattr(self, name), 0.0, 0.99999)
        for family, factor in self.lr_family.items():
            if family not in KIND_NAMES:
                raise BadInput(f"recipe.lr_family has no family {family!r}: {nearest(family, KIND_NAMES)}")
            _positive(f"recipe.lr_family.{family}", factor)
        for arch, rate in self.lr_arch.items():
            _positive(f"recipe.lr_arch.{arch}", rate)

    @property
    def shares_trunk(self) -> bool:
        """Whether budgets share everything before their decay."""
        return self.schedule in (Schedule.wsd, Schedule.rsqrt)

    @property
    def mixes_pairs(self) -> bool:
        """Whether neighbouring images are mixed, so that no pass may cut a pair."""
        return self.mixup > 0 or self.cutmix > 0

    def resolve(self, kind: str, arch: str = "") -> "Recipe":
        """The recipe with every rule turned into a number for one arch; what a Trial holds.

        What has no effect takes its default: a sweep over schedules and cool-downs makes one linear trial, not three.
        """
        lr = self.lr_arch.get(arch, self.lr * self.lr_family.get(kind, 1.0))
        defaults = {f.name: f.default for f in fields(self)}
        return replace(self, lr=lr, lr_family={}, lr_arch={}, **{name: defaults[name] for name in self._idle(kind)})

    def _idle(self, kind: str) -> list[str]:
        """Fields that the others, or a kind of arch without random layers of ours, leave without effect."""
        idle = [] if kind in ("vit", "hybrid") else ["dropout", "drop_path"]
        idle += [] if self.shares_trunk else ["cooldown"]
        idle += [] if self.schedule is Schedule.rsqrt else ["timescale"]
        idle += ["momentum"] if self.optimizer is Optimizer.adamw else ["beta1", "beta2"]
        return idle if self.randaugment_layers else [*idle, "randaugment_magnitude"]

    def steps(self, budget: int) -> int:
        """Optimiser steps for a budget in samples seen, rounded up to whole batches."""
        return max(1, -(-budget // self.batch_size))

    def cooldown_steps(self, steps: int) -> int:
        """Steps of the decay of a run of ``steps``; all shared-trunk accounting uses this number."""
        if not self.shares_trunk:
            return 0
        return min(steps, max(1, round(self.cooldown * steps))) if self.cooldown > 0 else 0

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of 0-based ``step`` in a run of ``steps``.

        wsd, rsqrt: linear warm-up, trunk, then linear to ``lr_end`` over the cool-down (Haegele et al. 2024, section
        3). The trunk does not depend on ``steps``, which is what lets budgets share it. linear, cosine: from the end
        of the warm-up to the end of the run, as in the official code.
        """
        warm = min(1.0, (step + 1) * self.batch_size / self.warmup) if self.warmup else 1.0
        peak = self.lr * warm
        if self.shares_trunk:
            peak *= self._fall(step)
            decay, left = self.cooldown_steps(steps), steps - step
            return self._between(peak, left / (decay + 1) if left <= decay else 1.0)
        seen, whole = (step + 1) * self.batch_size - self.warmup, (steps + 1) * self.batch_size - self.warmup
        progress = max(0.0, seen / whole) if whole > 0 else 0.0
        if self.schedule is Schedule.cosine:
            return self._between(peak, 0.5 * (1.0 + math.cos(math.pi * progress)))
        return self._between(peak, 1.0 - progress)

    def _fall(self, step: int) -> float:
        """Of the trunk's rate, since the warm-up: 1 for wsd."""
        if self.schedule is Schedule.wsd:
            return 1.0
        return (1.0 + max(0, step * self.batch_size - self.warmup) / self.timescale) ** -0.5

    def _between(self, peak: float, share: float) -> float:
        return self.lr_end + (peak - self.lr_end) * share if share < 1.0 else peak


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise BadInput(f"{name} must be a positive number, not {value}.")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadInput(f"{name} must lie between {low:g} and {high:g}, not {value}.")
