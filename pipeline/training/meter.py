"""Meter: the callback that watches one segment: curve, divergence, checkpoints, and the driver's wish to stop."""

import math
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch

from pipeline.data.datamodule import Batches
from pipeline.training.module import Classifier
from pipeline.training.pulse import Pulse

EXPLOSION = 100.0
"""Times the loss of uniform guessing: a loss above it will not come back."""


class Diverged(Exception):
    """The science says no: a non-finite or exploded loss. A result, not a failure."""


class Interrupted(Exception):
    """The driver asked to stop; the state is saved."""


class Meter(L.Callback):
    """Points every ``log_every`` global steps, so that the curve does not depend on when the process was killed."""

    def __init__(
        self,
        pulse: Pulse,
        forward_flops: int,
        guess_loss: float,
        log_every: int,
        checkpoint_seconds: float,
        stop: int,
        save: Callable[["Meter", Classifier], None],
        log: Callable[[dict[str, float]], None],
        curve: list[dict[str, float]],
        batches: Batches,
    ) -> None:
        self.pulse, self.forward_flops, self.guess_loss = pulse, forward_flops, guess_loss
        self.log_every, self.checkpoint_seconds, self.stop = log_every, checkpoint_seconds, stop
        self.save, self.tell, self.curve, self.batches = save, log, curve, batches
        self.saved_at = self.began = time.monotonic()
        self.last_log = (self.began, -1)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def data_wait(self) -> float:
        """Share of the time spent waiting for data."""
        return self.batches.waited / max(self.seconds, 1e-9)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classifier)
        if not pl_module.ends_step(batch_idx):
            return
        done = pl_module.step
        if done % self.log_every and done != self.stop:
            return  # checkpoints too: one in the middle of a window would tear its mean loss
        self._point(pl_module, done)
        due = time.monotonic() - self.saved_at >= self.checkpoint_seconds
        stop = trainer.strategy.broadcast(self.pulse.stop_asked)  # rank 0 decides for all
        if done != self.stop and (due or stop):
            self.save(self, pl_module)
            self.saved_at = time.monotonic()
            if stop:
                raise Interrupted

    def _point(self, module: Classifier, done: int) -> None:
        loss = module.take_mean_loss()
        if module.trainer.world_size > 1:
            loss = float(module.trainer.strategy.reduce(torch.tensor(loss), reduce_op="mean"))
        recipe = module.recipe
        seen = done * recipe.batch_size
        if not math.isfinite(loss) or loss > EXPLOSION * self.guess_loss:
            raise Diverged(f"training loss {loss:g} at step {done} ({seen:,} samples seen)")
        point = {
            "step": float(done),
            "samples_seen": float(seen),
            "compute/exaflops": 3.0 * self.forward_flops * seen / 1e18,
            "train/loss": loss,
            "train/lr": recipe.lr_at(done - 1, module.steps),
        }
        self.curve.append(point)
        self.tell({**point, "data/wait": self.data_wait})
        now = time.monotonic()
        since, at = self.last_log
        speed = (done - at) * recipe.batch_size / max(now - since, 1e-9) if at >= 0 else 0.0
        self.last_log = (now, done)
        self.pulse.note.update(step=done, loss=loss, samples_per_second=round(speed, 1))
        self.pulse.note.update(data_wait=round(self.data_wait, 4))
