"""Cluster: the only file that imports ray. One loop over the Plan; Ray does placement, worker reuse, node loss.

Ready segments, longest critical path first, each a plain Ray task; a few more in flight than there are slots;
``ray.wait``; release what became ready. Nothing is remembered here: the store is, so a driver may die at any moment.
"""

import contextlib
import heapq
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput, ClusterLost, brief
from pipeline.job import Job, Report
from pipeline.lease import held
from pipeline.ledger import Ledger, Outcome
from pipeline.placement import Placement
from pipeline.plan import Plan, Segment
from pipeline.record import log_key, read_record
from pipeline.result import make_result
from pipeline.track import Track

EXTRA_IN_FLIGHT = 2
"""Tasks submitted beyond the slots, so that a worker never waits for the driver."""
KNOCK_SECONDS = 10.0
"""How long a cluster's address may take to answer."""
GRACE_SECONDS = 20.0
"""How long interrupted segments may take to save."""
OBJECT_STORE_BYTES = 128 * 2**20
"""Of the local Ray."""


@dataclass
class Event:
    """What happened to a segment: started, done, diverged, failed, busy, skipped or interrupted."""

    kind: str
    segment: Segment
    reason: str = ""
    log: str = ""
    data_wait: float = 0.0
    """Share of its time that it waited for data."""


@dataclass
class Summary:
    done: int = 0
    diverged: int = 0
    failed: int = 0
    flops: int = 0
    device_seconds: float = 0.0
    wall_seconds: float = 0.0
    interrupted: bool = False


@contextlib.contextmanager
def cluster(placement: Placement, object_store: int = OBJECT_STORE_BYTES) -> Iterator[Any]:
    """A private Ray on loopback, with that many bytes for what is passed around, or a connection to a running cluster.
    Yields the ray module. Raises ClusterLost where Ray does not start here, BadInput where no cluster answers."""
    local = placement.address == "local"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of tasks that nobody waits for any more
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if local:
        # The name is about other systems; the effect is that every listener binds to loopback.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    else:
        _knock(placement.address)
        _show_token()
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    if local:
        settings |= {"num_cpus": placement.cpus, "object_store_memory": object_store}
    else:
        del settings["include_dashboard"]
    try:
        ray.init(address=placement.address, **settings)
    except Exception as error:  # nothing more special where a process of Ray's dies while it starts
        if local:
            raise cluster_lost(error) from error
        if isinstance(error, (ConnectionError, ValueError)):
            raise _no_cluster(placement.address, error) from error
        raise
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises BadInput where nobody listens; Ray itself would try for many minutes, and talk all the while."""
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not port.isdigit():
        return  # not an address of that kind, such as ``auto``: Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _show_token() -> None:
    """`ray start` asks for a token wherever one exists, and a local Ray leaves one behind; ``ray.init`` by address
    shows it only when told. A cluster that asks for none does not mind.
    """
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if given or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _no_cluster(address: str, error: Exception) -> BadInput:
    return BadInput(
        f"No Ray cluster answers at placement.address={address!r} ({brief(error)}): start one with "
        "`ray start --head`, or leave the address out to run here."
    )


def cluster_lost(error: Exception) -> ClusterLost:
    logs = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "session_latest", "logs")
    return ClusterLost(
        f"Ray's processes on this machine died or did not start ({brief(error)}); its logs are in {logs}: give it more "
        "memory or lower placement.cpus, and the same command continues."
    )


def execute(
    plan: Plan,
    make_job: Callable[[Segment], Job],
    placement: Placement,
    track: Track,
    on_event: Callable[[Event], None],
    on_tick: Callable[[], None] = lambda: None,
) -> Summary:
    """Run every segment of the plan. One that fails is recorded and the rest goes on."""
    began = time.monotonic()
    if not plan.segments:
        return Summary()
    loop = _Loop(plan, make_job, placement, track, on_event)
    for attempt in range(placement.retries + 1):
        try:
            with cluster(placement) as ray:
                loop.run(ray, on_tick)
            break
        except ClusterLost:
            if attempt == placement.retries:
                raise
    loop.summary.wall_seconds = time.monotonic() - began
    return loop.summary


@dataclass
class _Loop:
    plan: Plan
    make_job: Callable[[Segment], Job]
    placement: Placement
    track: Track
    on_event: Callable[[Event], None]
    summary: Summary = field(default_factory=Summary)
    ready: list[tuple[int, str]] = field(default_factory=list)
    flying: dict[Any, str] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    """Held by another driver; looked at again every second."""
    stop_key: str = field(default_factory=lambda: f"stop/{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        for key, segment in self.plan.segments.items():
            if self.plan.parent(segment) is None:
                self._push(key)

    def run(self, ray: Any, on_tick: Callable[[], None]) -> None:
        """To the end, or until interrupted. Raises ClusterLost when it may be run again on another cluster."""
        self.ray = ray
        self.task = self.ray.remote(max_retries=self.placement.retries)(_task)
        slots = self._slots()
        _interrupt_on_terminate()
        try:
            looked = time.monotonic()
            while self.ready or self.flying or self.busy:
                while self.ready and len(self.flying) < slots + EXTRA_IN_FLIGHT:
                    self._submit(heapq.heappop(self.ready)[1])
                self._collect(timeout=0.5)
                if self.busy and time.monotonic() - looked > 1.0:
                    self._look_at_busy()
                    looked = time.monotonic()
                on_tick()
        except KeyboardInterrupt:
            self._interrupt()

    def _slots(self) -> int:
        total = self.ray.cluster_resources()
        need = {
            "CPU": self.placement.cpus_per_trial * self.placement.workers_per_trial,
            "GPU": self.placement.gpus_per_trial * self.placement.workers_per_trial,
        }
        for name, amount in need.items():
            if amount > total.get(name, 0):
                raise BadInput(
                    f"One trial needs {amount:g} {name}, but the cluster has {total.get(name, 0):g}: "
                    f"lower placement.{name.lower()}s_per_trial or workers_per_trial."
                )
        return max(1, int(min(total[name] // amount for name, amount in need.items() if amount)))

    def _push(self, key: str) -> None:
        heapq.heappush(self.ready, (-self.plan.critical_path[key], key))

    def _submit(self, key: str) -> None:
        segment = self.plan.segments[key]
        job = replace(self.make_job(segment), stop_key=self.stop_key)
        cpus, gpus = self.placement.cpus_per_trial, self.placement.gpus_per_trial
        if job.is_gang:
            cpus = gpus = 0.0  # the gang inside holds the devices
        task = self.task.options(name=f"{segment.work.name}-{key[3:11]}", num_cpus=cpus, num_gpus=gpus)
        self.flying[task.remote(job, self.track)] = key
        self.on_event(Event("started", segment))

    def _collect(self, timeout: float) -> None:
        if not self.flying:
            time.sleep(timeout)
            return
        finished, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=timeout)
        for ref in finished:
            key = self.flying.pop(ref)
            try:
                report = self.ray.get(ref)
            except (self.ray.exceptions.LocalRayletDiedError, self.ray.exceptions.RaySystemError) as error:
                for lost in (key, *self.flying.values()):
                    self._push(lost)
                self.flying.clear()
                raise cluster_lost(error) from error
            except self.ray.exceptions.RayError as error:
                self._failed(key, error)
            else:
                self._reported(report)

    def _reported(self, report: Report) -> None:
        segment = self.plan.segments[report.key]
        if report.outcome == "busy":
            self.busy.add(report.key)
        elif report.outcome == "done":
            self.summary.done += segment.final
            self.summary.flops += segment.flops
            self.summary.device_seconds += report.seconds
            for child in self.plan.children[report.key]:
                self._push(child)
        elif report.outcome == "diverged":
            self._diverged(segment, report)
        self.on_event(Event(report.outcome, segment, report.reason, data_wait=report.data_wait))

    def _diverged(self, segment: Segment, report: Report) -> None:
        """Everything that rests on this segment has diverged with it."""
        self.summary.device_seconds += report.seconds
        ledger = Ledger(self.make_job(segment).store)
        for digest in segment.serves:
            self.summary.diverged += 1
            if ledger.get(digest) is None:
                self._publish(segment, digest, Outcome.diverged, report.reason)

    def _failed(self, key: str, error: Exception) -> None:
        """A bug, or a worker that died too often: recorded as failed, with its log, and tried again next time."""
        segment = self.plan.segments[key]
        store = self.make_job(segment).store
        reason = brief(getattr(error, "cause", None) or error)
        if not store.exists(log_key(key)):
            store.put(log_key(key), f"{reason}\n\n{error}".encode())
        for digest in segment.serves:
            self.summary.failed += 1
            self._publish(segment, digest, Outcome.failed, reason)
        self.on_event(Event("failed", segment, reason, store.describe(log_key(key))))

    def _publish(self, segment: Segment, digest: str, outcome: Outcome, reason: str) -> None:
        job = self.make_job(segment)
        datasets = {name: home.dataset for name, home in job.homes.items()}
        log = job.store.describe(log_key(segment.key)) if outcome is Outcome.failed else ""
        result = make_result(
            self.plan.trials[digest],
            datasets,
            outcome,
            reason=reason,
            log=log,
            study=job.study,
            device=job.device,
        )
        Ledger(job.store).publish(result)

    def _look_at_busy(self) -> None:
        for key in sorted(self.busy):
            store = self.make_job(self.plan.segments[key]).store
            if read_record(store, key) is not None or not held(store, key):
                self.busy.discard(key)
                self._push(key)  # it finds the finished work, or does it

    def _interrupt(self) -> None:
        """Ask the running segments to save, wait for them, and leave."""
        self.summary.interrupted = True
        if not self.plan.segments:
            return
        store = self.make_job(next(iter(self.plan.segments.values()))).store
        store.put(self.stop_key, b"")
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            started = set(self.flying)
            while started and time.monotonic() < deadline:
                finished, rest = self.ray.wait(list(started), num_returns=1, timeout=0.5)
                started = set(rest)
                for ref in finished:
                    with contextlib.suppress(self.ray.exceptions.RayError):
                        self.ray.get(ref)
        except KeyboardInterrupt:
            pass  # asked twice: leave at once; the last checkpoint stands
        finally:
            store.delete(self.stop_key)


def _interrupt_on_terminate() -> None:
    """A polite kill saves the states like Ctrl-C does. Set after Ray's start, which puts a handler of its own."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _task(job: Job, track: Track) -> Report:
    """Runs in a worker, which keeps torch and the readers for the next segment."""
    from pipeline.training.segment import run_segment

    if job.is_gang:
        from pipeline.gang import gang

        return run_segment(job, worker=gang(track))
    from pipeline.mirror import Mirror

    return run_segment(job, Mirror(track).open)
