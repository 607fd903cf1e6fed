"""Classifier: the Lightning module of every upstream training and fine-tuning.

Suffixes: B batch, C channels, H height, W width, K classes.
"""

import hashlib

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.data.augment import augment
from pipeline.recipe import Loss, Optimizer, Recipe
from pipeline.training.state import State, load_optimizer


class Classifier(L.LightningModule):
    """Trains ``model`` by ``recipe`` from global step ``first_step`` of a run of ``steps``."""

    def __init__(self, model: nn.Module, recipe: Recipe, seed: int, steps: int, start: State | None = None) -> None:
        super().__init__()
        self.model, self.recipe, self.seed, self.steps = model, recipe, seed, steps
        self.start = start
        self.first_step = start.step if start else 0
        if start:
            model.load_state_dict(start.model)
        self.loss_sum = torch.zeros((), dtype=torch.float32)
        self.loss_count = 0

    @property
    def step(self) -> int:
        """Global 0-based step of the batch in hand: a pure position, never a stored counter."""
        return self.first_step + self.global_step

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        lr = self.recipe.lr_at(self.step, self.steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr
        if self.recipe.dropout > 0:
            torch.manual_seed(_step_seed(self.seed, self.step, self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        images_BCHW, labels_B, counters_B = batch
        x_BCHW = augment(images_BCHW, self.seed, counters_B, self.recipe.crop_padding, self.recipe.flip)
        loss = training_loss(self.model(x_BCHW), labels_B, self.recipe)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach().float()
        self.loss_count += 1
        return loss

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


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on kernels (two dimensions or more) only: not on biases, norms, class token or positions."""
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kernel = parameter.ndim >= 2 and not any(part in name for part in ("pos_embed", "position", "cls"))
        (decayed if kernel else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if recipe.optimizer is Optimizer.adamw:
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)


def training_loss(logits_BK: Tensor, labels_B: Tensor, recipe: Recipe) -> Tensor:
    """Softmax or sigmoid cross-entropy; the sigmoid form sums over classes (arXiv 2010.11929, appendix B)."""
    if recipe.loss is Loss.softmax:
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=recipe.label_smoothing)
    classes = logits_BK.shape[1]
    target_BK = F.one_hot(labels_B, classes).to(logits_BK.dtype)
    target_BK = target_BK * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="sum") / len(labels_B)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the dropout masks of one step: a pure function, so a resumed run draws the same."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:7], "little")
