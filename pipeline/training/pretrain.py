"""The work of a trunk or decay segment: train from its start state; after a decay, evaluate."""

import math
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pipeline.data.reader import Reader, Reading
from pipeline.job import Job
from pipeline.models.build import build
from pipeline.plan import Work, forward_flops
from pipeline.recipe import Loss, Recipe
from pipeline.subset import Subset
from pipeline.training.evaluate import evaluate
from pipeline.training.fit import Stretch, fit, start_state
from pipeline.training.pulse import Pulse
from pipeline.training.runlog import RunLog
from pipeline.training.state import State


@dataclass
class Done:
    """What a segment made."""

    state: State | None
    """None where nothing rests on it, once it is stored, and on ranks other than 0."""
    curve: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    """Wall seconds of training and evaluation."""
    samples_per_second: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)
    """How the images were read, for the record."""
    has_state: bool = False
    """Whether the end state is stored."""
    state_sha256: str = ""


def pretrain(job: Job, pulse: Pulse, run: RunLog, trainer: dict[str, Any]) -> Done:
    """``trainer`` are further settings of Lightning's Trainer, for a gang."""
    segment = job.segment
    trial = segment.planned.pretrain
    data = job.homes[trial.subset.dataset].dataset
    reader = open_reader(job, data.id, "train", trial.subset)
    start = start_state(job, segment.start.key if segment.start else "")
    recipe = trial.recipe
    noise = (recipe.dropout, recipe.drop_path, recipe.head_bias)
    model = build(trial.arch, data.image_size, data.channels, data.classes, trial.seed, *noise)
    stretch = Stretch(
        model=model,
        recipe=recipe,
        seed=trial.seed,
        steps=trial.steps,
        stop=segment.end.step,
        start=start,
        reader=reader,
        subset=trial.subset,
        forward_flops=forward_flops(segment.planned, data),
        guess_loss=guess_loss(recipe, data.classes),
    )
    fitted = fit(job, stretch, pulse, run.log, run.logger, **trainer)
    if not fitted.leads:
        return Done(None)
    done = Done(fitted.state, fitted.curve, {}, fitted.seconds, fitted.samples_per_second, fitted.data)
    if segment.work is Work.decay:
        began = time.monotonic()
        validation = open_reader(job, data.id, "val")
        scores = evaluate(fitted.module.model, validation, job.placement.precision)
        done.metrics = {
            "val_error": scores["error"],
            "val_loss": scores["loss"],
            "train_loss": fitted.curve[-1]["train/loss"],
        }
        done.data["bad_samples"] += len(validation.replaced)
        done.seconds += time.monotonic() - began
        fitted.state.optimizer = {}  # nothing trains on from a finished decay
        where = {axis: fitted.curve[-1][axis] for axis in ("samples_seen", "compute/exaflops")}
        run.log({**where, "val/error": scores["error"], "val/loss": scores["loss"]})
        run.summary(done.metrics)
    return done


def guess_loss(recipe: Recipe, classes: int) -> float:
    """Loss of uniform guessing, the yardstick of divergence."""
    return math.log(classes) if recipe.loss is Loss.softmax else classes * math.log(2)


def open_reader(job: Job, dataset: str, split: str, subset: Subset | None = None) -> Reader:
    """The split of a data set, by id; ``subset`` is what will be asked for. Raises BadInput as ``Reader.open`` does."""
    home, placement = job.homes[dataset], job.placement
    reading = Reading.of(placement, home.on_bad_sample)
    first, samples = (subset.replicate * subset.samples, subset.samples) if subset else (0, 0)
    return _opened(home.folder, split, reading, first, samples)


@lru_cache(maxsize=16)
def _opened(folder: str, split: str, reading: Reading, first: int, samples: int) -> Reader:
    """Kept between the segments of a warm worker; the decoded map is shared through the page cache."""
    return Reader.open(folder, split, reading, first, samples)
