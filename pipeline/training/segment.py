"""Run one Segment: read the start state, work, publish the end state and the record. One pure call.

It looks at its own address first, so running it twice is harmless. On CPU with the same number of threads the end
state is the same bit for bit, however often the work was killed and whichever trials share it.
"""

import hashlib
import os
import platform
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from pipeline.job import Job, Report
from pipeline.lease import Lease
from pipeline.ledger import Ledger, Outcome
from pipeline.plan import Work
from pipeline.record import Record, log_key, partial_key, read_record, record_key, state_key
from pipeline.result import make_result
from pipeline.training.meter import Diverged, Interrupted
from pipeline.training.pretrain import Done, pretrain
from pipeline.training.pulse import Pulse
from pipeline.training.runlog import OpenRun, RunLog, silent
from pipeline.transfer.run import transfer

Worker = Callable[[Job, Pulse, RunLog], Done]
"""Does the work and stores the end state; raises Diverged or Interrupted."""


def run_segment(job: Job, open_run: OpenRun = silent, worker: Worker | None = None) -> Report:
    """Do the work of ``job.segment`` unless it is done or held. Bugs raise; what happened is in the log.

    ``worker`` does it elsewhere (on a gang); by default this process does.
    """
    key = job.segment.key
    record = read_record(job.store, key)
    if record is not None and _complete(job, record):
        return _finish(job, record)
    if job.stop_key and job.store.exists(job.stop_key):
        return Report(key, "interrupted")
    lease = Lease(job.store, key, job.placement.lease_seconds)
    if not lease.acquire():
        return Report(key, "busy")
    torch.set_num_threads(job.placement.threads)
    beat = job.placement.heartbeat_seconds
    try:
        with Pulse(job.store, key, lease, beat, job.stop_key, _note(job)) as pulse:
            return _finish(job, _tracked(job, pulse, open_run(job), worker or alone))
    except Interrupted:
        return Report(key, "interrupted")
    except Exception:
        job.store.put(log_key(key), f"{_note(job)}\n{traceback.format_exc()}".encode())
        raise
    finally:
        lease.release()


def _complete(job: Job, record: Record) -> bool:
    """A record without its state (somebody deleted it) must be worked again, where a state is left at all."""
    segment = job.segment
    return record.outcome == "diverged" or not record.has_state or job.store.exists(state_key(segment.key))


def alone(job: Job, pulse: Pulse, run: RunLog, trainer: dict[str, Any] | None = None) -> Done:
    """Train, fine-tune or probe in this process; rank 0 stores the end state before its record is published."""
    work = transfer if job.segment.work is Work.transfer else pretrain
    done = work(job, pulse, run, trainer or {})
    if done.state is not None:
        data = done.state.to_bytes()
        job.store.put(state_key(job.segment.key), data)
        done.has_state, done.state, done.state_sha256 = True, None, hashlib.sha256(data).hexdigest()
    return done


def _tracked(job: Job, pulse: Pulse, run: RunLog, worker: Worker) -> Record:
    """Work inside the tracker's run, which is closed whatever happens."""
    try:
        record = _work(job, pulse, run, worker)
    except BaseException:
        run.finish(failed=True)
        raise
    run.finish(failed=record.outcome == "diverged")
    record.track = run.status
    job.store.put(record_key(job.segment.key), record.to_json())
    job.store.delete(partial_key(job.segment.key))
    return record


def _work(job: Job, pulse: Pulse, run: RunLog, worker: Worker) -> Record:
    """The record of the segment; its end state is stored before it returns."""
    began = time.monotonic()
    try:
        return _record(job, worker(job, pulse, run), "done", "")
    except Diverged as diverged:
        return _record(job, Done(None, seconds=time.monotonic() - began), "diverged", str(diverged))


def _record(job: Job, done: Done, outcome: str, reason: str) -> Record:
    segment = job.segment
    seconds = done.seconds * _devices(job)
    before = read_record(job.store, segment.start.key) if segment.start else None
    shared = before if segment.work is not Work.transfer else None
    return Record(
        key=segment.key,
        start=segment.start.key if segment.start else "",
        owner=segment.planned.digest,
        outcome=outcome,
        first_step=segment.first_step,
        last_step=segment.end.step,
        curve=done.curve,
        metrics=done.metrics,
        seconds=seconds,
        seconds_total=seconds + (shared.seconds_total if shared else 0.0),
        flops=segment.flops,
        samples_per_second=done.samples_per_second,
        has_state=done.has_state,
        state_sha256=done.state_sha256,
        data=done.data,
        reason=reason,
        host=_host(job),
    )


def _devices(job: Job) -> float:
    """GPUs or, without any, CPU cores that work on one segment."""
    placement = job.placement
    return placement.workers_per_trial * (placement.gpus_per_trial or placement.cpus_per_trial)


def _finish(job: Job, record: Record) -> Report:
    """Publish the Result of a final segment; harmless when it was published before."""
    segment = job.segment
    if segment.final:
        datasets = {digest: home.dataset for digest, home in job.homes.items()}
        outcome = Outcome(record.outcome)
        Ledger(job.store).publish(
            make_result(segment.planned, datasets, outcome, record, record.reason, study=job.study, device=job.device)
        )
    wait = float(record.data.get("data_wait", 0.0))
    return Report(segment.key, record.outcome, record.reason, record.seconds, wait)


def _note(job: Job) -> dict[str, Any]:
    segment = job.segment
    return {
        "study": job.study,
        "arch": segment.planned.arch,
        "work": segment.work.name,
        "trial": segment.planned.digest,
        "first_step": segment.first_step,
        "last_step": segment.end.step,
    }


def _host(job: Job) -> dict[str, Any]:
    """What decides the bits besides the trial."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": job.placement.threads,
        "workers": job.placement.workers_per_trial,
        "devices": _devices(job),
        "micro_batch": job.placement.micro_batch,
        "compiled": job.placement.compile,
        "precision": job.placement.precision.name,
    }
