"""Placement: where and how a study runs. Never part of a Trial, so nothing here can change a digest."""

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pipeline.errors import BadInput


class Precision(Enum):
    fp32 = "32-true"
    bf16 = "bf16-mixed"


class Backend(Enum):
    """What decodes JPEG: ``pillow`` is always there; ``simplejpeg`` and ``torchcodec`` are extras, and
    faster. Their pixels differ in the last bits."""

    pillow = "pillow"
    simplejpeg = "simplejpeg"
    torchcodec = "torchcodec"


@dataclass
class Placement:
    store: str = "runs"
    """Ledger, states, progress and reports: a folder or any fsspec URL."""
    data: str = "data"
    """Folder of prepared data sets."""
    address: str = "local"
    """``local`` starts a private Ray on loopback; otherwise the address of a running cluster."""
    cpus: int | None = None
    """CPU slots of the local Ray; all cores when not given."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    """May be a fraction: small segments share a GPU."""
    workers_per_trial: int = 1
    """Above one, a segment runs on that many workers through Ray Train, data-parallel."""
    threads: int = 1
    """Torch threads per worker. Recorded: results on CPU are bitwise equal only at the same count."""
    precision: Precision = Precision.fp32
    micro_batch: int = 0
    """Images in memory at once per worker; the gradients of a batch are gathered over several passes. 0: all."""
    recompute: bool = False
    """Activation checkpointing: keep only what enters each block, and compute the rest again on the way back."""
    compile: bool = False
    """``torch.compile`` the model; pays from a few thousand steps on."""
    checkpoint_seconds: float = 30.0
    """A killed segment loses at most this much work."""
    heartbeat_seconds: float = 1.0
    lease_seconds: float = 60.0
    """How long a silent holder keeps a segment from other drivers."""
    retries: int = 3
    """Of a segment whose worker or node died. Errors in the code are not retried."""
    decoder: Backend = Backend.pillow
    """Recorded with every result; a trial is finished with the decoder it was begun with."""
    loader_threads: int = 0
    """Per worker, that read and decode ahead. 0: as many as ``cpus_per_trial``."""
    cache: str = ""
    """Folder on each node's own disk for decoded images and shards from elsewhere. Empty: ``cache`` in ``data``."""
    cache_gib: float = 2.0
    """Decoded images kept there; a data set, or the part of it that a trial uses, is decoded once if it fits."""
    shard_cache_gib: float = 64.0
    """Shards of data sets on an object store or web server, kept in ``cache``."""
    fetch_seconds: float = 300.0
    """Within which such a shard comes, however often its server fails, or is an error."""
    log_every: int = 10
    """Optimiser steps between points of the training curve."""

    def __post_init__(self) -> None:
        for name in ("store", "data", "address"):
            if not getattr(self, name).strip():
                raise BadInput(f"placement.{name} is empty: leave it out, or say where.")
        for name in (
            "cpus_per_trial",
            "threads",
            "workers_per_trial",
            "log_every",
            "heartbeat_seconds",
            "lease_seconds",
            "shard_cache_gib",
            "fetch_seconds",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInput(f"placement.{name} must be positive, not {getattr(self, name)}.")
        for name in (
            *("micro_batch", "gpus_per_trial", "retries", "checkpoint_seconds"),
            *("cache_gib", "loader_threads"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"placement.{name} must be a number and not negative, not {getattr(self, name)}.")
        if self.cpus is not None and self.cpus < self.cpus_per_trial:
            raise BadInput(
                f"placement.cpus={self.cpus} is less than one trial needs (cpus_per_trial={self.cpus_per_trial:g})."
            )

    @property
    def cache_folder(self) -> str:
        return self.cache or str(Path(self.data) / "cache")

    @property
    def threads_ahead(self) -> int:
        """Of the loader, per worker."""
        return self.loader_threads or max(1, math.ceil(self.cpus_per_trial))

    def check(self, batch_size: int, name: str, pairs: bool = False) -> None:
        """Raises BadInput when the batch of that ``name`` cannot be cut evenly, or ``pairs`` would be cut."""
        count = self.workers_per_trial * passes(batch_size, self.workers_per_trial, self.micro_batch, name)
        if pairs and batch_size // count % 2:
            raise BadInput(
                "recipe.mixup and recipe.cutmix mix pairs, but "
                f"placement.workers_per_trial={self.workers_per_trial} and micro_batch={self.micro_batch} cut "
                f"{name}={batch_size} into passes of {batch_size // count} images: make that even."
            )


def passes(batch_size: int, workers: int, micro_batch: int, name: str = "recipe.batch_size") -> int:
    """Passes of every worker per step. Raises BadInput, with what would do, when the batch cannot be cut evenly."""
    if batch_size % workers:
        raise BadInput(
            f"{name}={batch_size} cannot be shared evenly by placement.workers_per_trial={workers}: make the batch a "
            f"multiple, or take {_divisor(batch_size, workers)} for the workers."
        )
    own = batch_size // workers
    size = min(own, micro_batch) if micro_batch else own
    if own % size:
        raise BadInput(
            f"placement.micro_batch={micro_batch} does not divide the {own} images that {name}={batch_size} gives each "
            f"worker: take {_divisor(own, micro_batch)}, or 0 for all at once."
        )
    return own // size


def _divisor(number: int, limit: int) -> int:
    """The largest divisor up to ``limit``."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
