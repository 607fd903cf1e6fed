"""Gang: a segment on several workers, data-parallel, by Ray Train and Lightning's DDP.

For segments larger than one worker only: a gang costs about 15 s more than its training. The task that starts it
holds the lease and takes no devices; every member runs the same training, and rank 0 alone writes.
"""

import json
from dataclasses import asdict
from typing import Any

from pipeline.job import Job
from pipeline.track import Track
from pipeline.training.meter import Diverged, Interrupted
from pipeline.training.pretrain import Done
from pipeline.training.pulse import Pulse
from pipeline.training.runlog import RunLog, Silent


def gang(track: Track):
    """The worker of ``run_segment`` that trains on ``placement.workers_per_trial`` workers."""

    def work(job: Job, pulse: Pulse, run: RunLog) -> Done:
        return _done(_train(job, track))

    return work


def _train(job: Job, track: Track) -> dict[str, Any]:
    """What rank 0 says at the end."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    placement = job.placement
    needs = {"CPU": placement.cpus_per_trial, "GPU": placement.gpus_per_trial}
    trainer = TorchTrainer(
        _member,
        train_loop_config={"job": job, "track": track},
        scaling_config=ScalingConfig(
            num_workers=placement.workers_per_trial,
            use_gpu=placement.gpus_per_trial > 0,
            resources_per_worker={name: amount for name, amount in needs.items() if amount},
        ),
        run_config=RunConfig(storage_path=str(job.store.local / "ray") if job.store.local else None),
    )
    trainer.fit()
    told = job.store.get(_told_key(job))
    if told is None:
        raise RuntimeError("the gang ended without a word from rank 0")
    job.store.delete(_told_key(job))
    return json.loads(told)


def _told_key(job: Job) -> str:
    """Rank 0 speaks through the store: Ray Train keeps reported numbers only beside a checkpoint of its own."""
    return f"states/{job.segment.key}.told"


def _done(told: dict[str, Any]) -> Done:
    if "diverged" in told:
        raise Diverged(told["diverged"])
    if "interrupted" in told:
        raise Interrupted
    return Done(**told["done"])


def _member(config: dict[str, Any]) -> None:
    """One rank. Ends of the training that are no failures travel as words: an exception would be a crash."""
    import torch
    from ray.train import get_context
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    from pipeline.mirror import Mirror
    from pipeline.training.segment import alone

    job: Job = config["job"]
    first = get_context().get_world_rank() == 0
    torch.set_num_threads(job.placement.threads)
    settings = {"devices": "auto", "strategy": RayDDPStrategy(), "plugins": [RayLightningEnvironment()]}
    run = Mirror(config["track"]).open(job) if first else Silent()
    told: dict[str, Any]
    note = {"study": job.study, "arch": job.segment.planned.arch, "work": "gang", "trial": job.segment.planned.digest}
    note |= {"first_step": job.segment.first_step, "last_step": job.segment.end.step}
    key = f"{job.segment.key}-{'lead' if first else 'member'}"
    try:
        with Pulse(job.store, key, None, job.placement.heartbeat_seconds, job.stop_key, note) as pulse:
            told = {"done": asdict(alone(job, pulse, run, settings))}
    except Diverged as diverged:
        told = {"diverged": str(diverged)}
    except Interrupted:
        told = {"interrupted": True}
    run.finish(failed="diverged" in told)
    if first:
        job.store.put(_told_key(job), json.dumps(told).encode())
