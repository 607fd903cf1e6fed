"""Classifier: the Lightning module of every upstream training and fine-tuning.

Suffixes: B batch, C channels, H height, W width, K classes.
"""

import hashlib
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from pipeline.data.augment import augment, mix_pairs
from pipeline.models.chance import Chance
from pipeline.models.resnet import KernelsOnce
from pipeline.recipe import Recipe
from pipeline.training.loss import training_loss
from pipeline.training.optimizer import build_optimizer
from pipeline.training.state import State, load_optimizer


class Classifier(L.LightningModule):
    """Trains ``model`` by ``recipe`` from global step ``first_step`` of a run of ``steps``.

    A step may be cut into ``micro_batches`` forward and backward passes; only their gradients are summed. ``cropped``
    says that the loader has done the random resized crop.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        seed: int,
        steps: int,
        start: State | None = None,
        micro_batches: int = 1,
        cropped: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.recipe, self.seed, self.steps = model, recipe, seed, steps
        self.start = start
        self.first_step = start.step if start else 0
        self.micro_batches, self.cropped = micro_batches, cropped
        self.chance: Chance | None = getattr(model, "chance", None)
        if start:
            model.load_state_dict(start.model)
        self.kernels = KernelsOnce(model)
        self.average = Average(model, recipe.polyak, start.average if start else {})
        self.loss_sum = torch.zeros((), dtype=torch.float32)
        self.loss_count = 0

    @property
    def step(self) -> int:
        """Global 0-based step of the batch in hand: a pure position, never a stored counter."""
        return self.first_step + self.global_step

    def ends_step(self, batch_idx: int) -> bool:
        """Whether the optimiser moves after this micro-batch."""
        return (batch_idx + 1) % self.micro_batches == 0

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        lr = self.recipe.lr_at(self.step, self.steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr
        # DDP wants the gradient of every weight in the backward pass of the last micro-batch.
        if self.micro_batches > 1 and batch_idx % self.micro_batches == 0 and self.trainer.world_size == 1:
            self.kernels.open()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        images_BCHW, labels, counters_B = batch
        if self.chance:
            self.chance.set(self.seed, counters_B)
        else:  # a module made elsewhere draws from the global generator, if it draws
            torch.manual_seed(_step_seed(self.seed, self.step, self.global_rank, batch_idx % self.micro_batches))
        x_BCHW = augment(images_BCHW, self.seed, counters_B, self.recipe, self.cropped)
        x_BCHW, weights_B = mix_pairs(x_BCHW, self.seed, counters_B, self.recipe)
        loss = training_loss(self.model(x_BCHW), labels, self.recipe, weights_B)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach().float()
        self.loss_count += 1
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.kernels.close()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Global norm, by ourselves: Lightning refuses to clip for a fused optimiser in mixed precision, fearing a
        gradient scaler, which bf16 does not have."""
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)

    def take_mean_loss(self) -> float:
        """Mean training loss since the last call; waits for the device."""
        mean = float(self.loss_sum) / max(1, self.loss_count)
        self.loss_sum, self.loss_count = torch.zeros_like(self.loss_sum), 0
        return mean

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = build_optimizer(self.model, self.recipe)
        if self.start and self.start.optimizer:
            load_optimizer(optimizer, self.start.optimizer)
        return optimizer


def _step_seed(*place: int) -> int:
    """Of (seed, step, rank, part): a pure function, so a resumed run draws the same."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, place)).encode()).digest()[:7], "little")


class Average:
    """Polyak average of the weights: after every step, ``decay`` of itself and the rest of the model."""

    def __init__(self, model: nn.Module, decay: float, stored: dict[str, Tensor]) -> None:
        self.decay = decay
        self.weights = dict(model.named_parameters()) if decay else {}
        self.values = {name: stored.get(name, weight).detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        if self.decay:
            self.values = {name: value.to(self.weights[name].device) for name, value in self.values.items()}
            for name, value in self.values.items():
                value.lerp_(self.weights[name], 1 - self.decay)

    @torch.no_grad()
    def become(self) -> None:
        """Put the average in the place of the weights."""
        for name, value in self.values.items():
            self.weights[name].copy_(value)
