"""Pool: the executor of preparing and verifying data. The first seconds of work are done in this process, which is all
that small data sets need; what is left after them runs as Ray tasks.
"""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Self

from pipeline.cluster import OBJECT_STORE_BYTES, cluster, cluster_lost
from pipeline.errors import BadInput, ClusterLost
from pipeline.placement import Placement

HERE_SECONDS = 15.0
"""Of work before Ray is started, which takes a few seconds itself."""
IN_FLIGHT = 2
"""Jobs given out per slot, so that a slow one holds up nobody."""
CANCEL_SECONDS = 30.0
"""How long jobs that nobody waits for any more may take to end."""
JOB_BYTES = 16 * 2**20
"""What a job may take of Ray's object store; most take a few kilobytes."""


class Pool:
    """``map`` is an executor (``data_prep.executor``). To be used as a context; leaving it ends what still runs."""

    def __init__(self, placement: Placement, here_seconds: float | None = None) -> None:
        self.placement = placement
        self._here = HERE_SECONDS if here_seconds is None else here_seconds
        self._ray: Any = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def map(self, function: Callable[[Any], Any], jobs: Iterable[Any], /) -> Iterator[Any]:
        """Results in the order of the jobs. Raises what a task raised; BadInput when workers keep dying."""
        remaining = iter(jobs)
        for job in remaining:
            if self._here <= 0:
                yield from self._spread(function, chain([job], remaining))
                return
            began = time.monotonic()
            result = function(job)
            self._here -= time.monotonic() - began
            yield result

    def _spread(self, function: Callable[[Any], Any], jobs: Iterator[Any]) -> Iterator[Any]:
        flying: deque[tuple[Any, Any]] = deque()
        for attempt in range(self.placement.retries + 1):
            try:
                task, slots = self._started()
                for place, (job, _) in enumerate(flying):
                    flying[place] = (job, task.remote(function, job))
                for job in jobs:
                    flying.append((job, task.remote(function, job)))
                    if len(flying) >= IN_FLIGHT * slots:
                        yield self._result(flying)
                while flying:
                    yield self._result(flying)
                return
            except ClusterLost:
                self._open.close()
                self._ray = None
                if attempt == self.placement.retries:
                    raise
            finally:
                if self._ray is not None:
                    self._cancel([ref for _, ref in flying])

    def _cancel(self, refs: list[Any]) -> None:
        """Nothing may still be writing when whoever gave out the jobs has given up."""
        for ref in refs:
            self._ray.cancel(ref)
        if refs:
            self._ray.wait(refs, num_returns=len(refs), timeout=CANCEL_SECONDS)

    def _started(self) -> tuple[Any, int]:
        """The remote form of ``function(job)``, and how many run at once."""
        if self._ray is None:
            wanted = IN_FLIGHT * JOB_BYTES * (self.placement.cpus or os.cpu_count() or 1)
            self._ray = self._open.enter_context(cluster(self.placement, max(OBJECT_STORE_BYTES, wanted)))
        # A lambda travels by value: workers import what the task needs and no more.
        task = self._ray.remote(num_cpus=1, max_retries=self.placement.retries)(lambda function, job: function(job))
        return task, max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _result(self, flying: deque[tuple[Any, Any]]) -> Any:
        errors = self._ray.exceptions
        try:
            result = self._ray.get(flying[0][1])
        except errors.RayTaskError as error:
            raise error.cause from error
        except (errors.LocalRayletDiedError, errors.RaySystemError) as error:
            if "No module named" in str(error):
                raise BadInput(
                    f"The workers at placement.address={self.placement.address!r} cannot import Crossover: install "
                    "this version on every node."
                ) from error
            raise cluster_lost(error) from error
        except errors.RayError as error:
            raise BadInput(
                f"Workers that prepare data died {self.placement.retries + 1} times in a row "
                f"({type(error).__name__}): give them more memory or lower placement.cpus, and the same command "
                "continues."
            ) from error
        flying.popleft()
        return result
