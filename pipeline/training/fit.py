"""Fit: train a model over the steps of one Segment with Lightning, from a saved State to a new one."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch

from pipeline.data.datamodule import Batches, SegmentData
from pipeline.data.reader import Reader
from pipeline.job import Job
from pipeline.models.build import recompute_activations
from pipeline.recipe import Recipe
from pipeline.record import partial_key, state_key
from pipeline.subset import Subset
from pipeline.training.meter import Meter
from pipeline.training.module import Classifier
from pipeline.training.pulse import Pulse
from pipeline.training.state import State, read_end_state, read_state

QUIET = ("lightning.pytorch", "lightning.fabric", "lightning")


@dataclass
class Stretch:
    """Steps ``start.step`` to ``stop`` of a run of ``steps``; everything the loop needs. A run that reaches its end
    becomes its Polyak average, where the recipe keeps one."""

    model: torch.nn.Module
    recipe: Recipe
    seed: int
    steps: int
    stop: int
    start: State | None
    reader: Reader
    subset: Subset
    forward_flops: int
    guess_loss: float
    """Of uniform guessing; the measure of an exploded loss."""


@dataclass
class Fitted:
    module: Classifier
    state: State
    curve: list[dict[str, float]]
    seconds: float
    """Wall seconds of the loop, all attempts together."""
    samples_per_second: float
    data: dict[str, Any]
    """How the images were read, for the record."""
    leads: bool = True
    """False on ranks other than 0, which write nothing."""


def fit(
    job: Job,
    stretch: Stretch,
    pulse: Pulse,
    log: Callable[[dict[str, float]], None],
    logger: Any = None,
    **trainer: Any,
) -> Fitted:
    """Train. Raises Diverged or Interrupted; in the latter case the rolling checkpoint is saved."""
    note = stretch.start.note if stretch.start else {}
    curve: list[dict[str, float]] = list(note.get("curve", []))
    before = float(note.get("seconds", 0.0))
    first = stretch.start.step if stretch.start else 0
    batches = Batches(
        stretch.reader,
        stretch.subset,
        stretch.seed,
        stretch.recipe.batch_size,
        first,
        stretch.stop,
        job.placement.micro_batch,
        world=job.placement.workers_per_trial,
        crop_area=stretch.recipe.crop_area,
        threads=job.placement.threads_ahead,
        pinned=device_of(job).type == "cuda",
    )
    if "data" in note:
        batches.check(note["data"])
    module = Classifier(
        stretch.model,
        stretch.recipe,
        stretch.seed,
        stretch.steps,
        stretch.start,
        batches.parts,
        cropped=stretch.reader.varied,
    )
    if job.placement.recompute:
        recompute_activations(stretch.model)
    if job.placement.compile:
        stretch.model.compile()

    def save(meter: Meter, module: Classifier) -> None:
        if not module.trainer.is_global_zero:
            return
        saved = {"curve": curve, "seconds": before + meter.seconds, "data": data.state_dict()}
        average = module.average.values
        state = State.capture(module.step, module.model, module.trainer.optimizers[0], average, saved)
        job.store.put(partial_key(job.segment.key), state.to_bytes())

    data = SegmentData(batches)
    meter = Meter(
        pulse,
        stretch.forward_flops,
        stretch.guess_loss,
        job.placement.log_every,
        job.placement.checkpoint_seconds,
        stretch.stop,
        save,
        log,
        curve,
        batches,
    )
    if first < stretch.stop:
        _trainer(job, stretch.stop - first, batches.parts, meter, logger, trainer).fit(module, data)
    optimizer = module.trainer.optimizers[0] if first < stretch.stop else None
    if stretch.stop == stretch.steps:
        module.average.become()
        module.average.values = {}
    left = {"data": replace(batches, first=stretch.stop, begun=lambda: 0).state_dict()}
    state = State.capture(stretch.stop, module.model, optimizer, module.average.values, left)
    if optimizer is None and stretch.start:
        state.optimizer = stretch.start.optimizer
    seen = (stretch.stop - first) * stretch.recipe.batch_size
    leads = first >= stretch.stop or module.trainer.is_global_zero
    module.model.to(device_of(job))  # Lightning leaves it on the CPU
    rate = seen / max(meter.seconds, 1e-9)
    read = {
        "data_wait": round(meter.data_wait, 4),
        "decoder": job.placement.decoder.value,
        "bad_samples": stretch.reader.bad_samples,
    }
    return Fitted(module, state, curve, before + meter.seconds, rate, read, leads)


def device_of(job: Job) -> torch.device:
    """Where this segment computes."""
    return torch.device("cuda" if job.placement.gpus_per_trial and torch.cuda.is_available() else "cpu")


def _trainer(job: Job, steps: int, parts: int, meter: Meter, logger: Any, extra: dict[str, Any]) -> L.Trainer:
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore", module="lightning", message=".*(does not have many workers|isn't logged|LeafSpec).*"
    )
    settings: dict[str, Any] = {
        "accelerator": device_of(job).type,
        "devices": 1,
        "precision": job.placement.precision.value,
        "logger": logger or False,
        "callbacks": [meter],
        "max_steps": steps,
        "max_epochs": -1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "accumulate_grad_batches": parts,
    }
    return L.Trainer(**{**settings, **extra})


def start_state(job: Job, first: str) -> State | None:
    """The rolling checkpoint of a killed attempt when there is one, else the state at address key ``first``."""
    partial = read_state(job.store, partial_key(job.segment.key))
    if partial is not None or not first:
        return partial
    state = read_end_state(job.store, first)
    if state is None:
        where = job.store.describe(state_key(first))
        raise RuntimeError(f"the start state {where} is gone; run the command again to remake it")
    return state
