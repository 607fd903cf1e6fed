"""Mirror: a Trial's run in the tracker, with its whole curve although trunks are shared.

A trunk logs live into the run of its longest Trial. The run of every other Trial first replays the shared stretch
from the stored curves, then logs its own decay. The Ledger is the memory; the mirror is never read back.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.job import Job
from pipeline.plan import Work, forward_flops, trial_flops
from pipeline.record import chain, partial_key
from pipeline.track import Track, TrackMode, TrialRun, open_run
from pipeline.training.runlog import RunLog, Silent
from pipeline.trial import Pretrain, canonical


@dataclass
class Mirror:
    track: Track

    def open(self, job: Job) -> RunLog:
        """The run of the segment's Trial, shared stretch already replayed."""
        if self.track.mode is TrackMode.off:
            return Silent()
        planned = job.segment.planned
        kind = "pretrain" if isinstance(planned.trial, Pretrain) else "transfer"
        run = open_run(
            self.track,
            str(job.store.local / "wandb") if job.store.local else "wandb",
            run_id=planned.digest,
            name=_name(job),
            group=job.study,
            job_type=kind,
            config=_config(job),
            tags=[planned.pretrain.arch.family, planned.arch, *sorted(planned.sweeps)],
        )
        if kind == "pretrain":
            self._replay(job, run)
        return run

    def _replay(self, job: Job, run: TrialRun) -> None:
        """What other Trials' runs logged of our trunk; an earlier attempt of this segment has done it already."""
        start = job.segment.start
        if start is None or job.store.exists(partial_key(job.segment.key)):
            return
        foreign = [r for r in chain(job.store, start.key) if r.owner != job.segment.planned.digest]
        for record in reversed(foreign):
            run.replay(record.curve)


def _name(job: Job) -> str:
    planned, root = job.segment.planned, job.segment.planned.pretrain
    task = f" {planned.task}" if job.segment.work is Work.transfer else ""
    return f"{planned.arch} n{root.subset.samples} b{root.budget} s{root.seed}{task}"


def _config(job: Job) -> dict[str, Any]:
    planned = job.segment.planned
    datasets = {home.dataset.name: home.dataset for home in job.homes.values()}
    upstream = job.homes[planned.pretrain.subset.dataset].dataset
    return {
        "trial": canonical(planned.trial),
        "arch": planned.arch,
        "family": planned.pretrain.arch.family,
        "forward_flops": forward_flops(planned, upstream),
        "flops": trial_flops(planned, datasets),
        "flops_convention": "2 per multiply-add; training = 3 x forward x samples seen",
        "seed": planned.pretrain.seed,
    }
