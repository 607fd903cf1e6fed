"""The work of a transfer segment: a finished Pretrain taken to a downstream task under its protocol."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from pipeline.job import Job
from pipeline.models.build import build, reset_head
from pipeline.models.positions import POSITIONS, grid_of, resize
from pipeline.plan import forward_flops
from pipeline.record import state_key
from pipeline.subset import Subset
from pipeline.training.evaluate import evaluate, features
from pipeline.training.fit import Stretch, device_of, fit, start_state
from pipeline.training.pretrain import Done, guess_loss, open_reader
from pipeline.training.pulse import Pulse
from pipeline.training.runlog import RunLog
from pipeline.training.state import read_end_state
from pipeline.transfer import fewshot
from pipeline.transfer.finetune import finetune_recipe
from pipeline.trial import FewShot, FineTune, Transfer


def transfer(job: Job, pulse: Pulse, run: RunLog, trainer: dict[str, Any]) -> Done:
    """``trainer`` are further settings of Lightning's Trainer, for a gang."""
    trial = job.segment.planned.trial
    assert isinstance(trial, Transfer)
    if isinstance(trial.protocol, FewShot):
        done = _few_shot(job, trial, trial.protocol)
    else:
        done = _fine_tune(job, trial, trial.protocol, pulse, run, trainer)
    run.summary(done.metrics)
    return done


def _few_shot(job: Job, trial: Transfer, protocol: FewShot) -> Done:
    began = time.monotonic()
    home = job.homes[trial.dataset]
    model = _parent_model(job, trial).to(device_of(job))
    train = open_reader(job, trial.dataset, "train")
    test = open_reader(job, trial.dataset, "test")
    ids = fewshot.draw(train.labels, protocol.shots, home.dataset.classes, trial.seed)
    solution = fewshot.solve(features(model, train, ids), train.labels[ids], home.dataset.classes, protocol.l2)
    error = fewshot.error(solution, features(model, test, np.arange(len(test))), test.labels)
    read = {"decoder": job.placement.decoder.value, "bad_samples": train.bad_samples + len(test.replaced)}
    return Done(None, metrics={"test_error": error}, seconds=time.monotonic() - began, data=read)


def _fine_tune(
    job: Job, trial: Transfer, protocol: FineTune, pulse: Pulse, run: RunLog, trainer: dict[str, Any]
) -> Done:
    home = job.homes[trial.dataset]
    data = home.dataset
    recipe = finetune_recipe(protocol)
    model = _parent_model(job, trial)
    reset_head(model, data.classes)
    subset = Subset(data.id, protocol.samples or data.samples)
    train = open_reader(job, trial.dataset, "train", subset)
    stretch = Stretch(
        model=model,
        recipe=recipe,
        seed=trial.seed,
        steps=protocol.steps,
        stop=protocol.steps,
        start=start_state(job, ""),
        reader=train,
        subset=subset,
        forward_flops=forward_flops(job.segment.planned, data),
        guess_loss=guess_loss(recipe, data.classes),
    )
    fitted = fit(job, stretch, pulse, run.log, run.logger, **trainer)
    if not fitted.leads:
        return Done(None)
    began = time.monotonic()
    test = open_reader(job, trial.dataset, "test")
    scores = evaluate(fitted.module.model, test, job.placement.precision)
    metrics = {"test_error": scores["error"], "test_loss": scores["loss"]}
    if data.val_samples:  # what a learning rate is chosen by; the test split never is
        dev = open_reader(job, trial.dataset, "val")
        metrics["dev_error"] = evaluate(fitted.module.model, dev, job.placement.precision)["error"]
    seconds = fitted.seconds + time.monotonic() - began
    fitted.data["bad_samples"] += len(test.replaced)
    state = replace(fitted.state, optimizer={})
    return Done(state, fitted.curve, metrics, seconds, fitted.samples_per_second, fitted.data)


def _parent_model(job: Job, trial: Transfer) -> nn.Module:
    """The parent with its trained weights, for images of the task's size: positions are interpolated to it.

    Raises RuntimeError when its state is gone.
    """
    parent = trial.parent
    upstream, target = (job.homes[d].dataset for d in (parent.subset.dataset, trial.dataset))
    assert job.segment.start is not None
    key = job.segment.start.key
    state = read_end_state(job.store, key)
    if state is None:
        gone = job.store.describe(state_key(key))
        raise RuntimeError(f"the parent's state {gone} is gone; run the command again to remake it")
    model = build(parent.arch, target.image_size, upstream.channels, upstream.classes, parent.seed)
    new, old = (grid_of(parent.arch, d.image_size) for d in (target, upstream))
    if new and old:
        state.model[POSITIONS] = resize(state.model[POSITIONS], new, old, "encoder.cls" in state.model)
    model.load_state_dict(state.model)
    return model
