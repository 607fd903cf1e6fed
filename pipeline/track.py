"""Track: the W&B mirror of a Trial, offline by default. The only file that knows wandb, and imports it late.

The Ledger is the memory; W&B is a copy for people who live there. So nothing here may stop a study: every call
swallows what wandb raises, a dead wandb-core is replaced, and what could not be kept is said in ``status``.
One Trial is one W&B run whose id is the Trial's digest: every attempt and every segment, in whatever process,
resumes it, and ``wandb sync`` stitches the offline fragments together.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SAMPLES, EXAFLOPS = "samples_seen", "compute/exaflops"
METRICS = {"train/loss": "min", "train/lr": "last", "val/error": "min", "val/loss": "min"}
ROOM = 10_000_000
"""Bytes that must be free: wandb drops rows silently on a full disk."""
REATTACHES = 3
KEPT_ROWS = 5000
"""Rows held in memory, to log again what a dying wandb-core had not written."""


class TrackMode(Enum):
    offline = "offline"
    online = "online"
    off = "off"


@dataclass
class Track:
    mode: TrackMode = TrackMode.offline
    project: str = "crossover"
    entity: str = ""
    system_stats: bool = False


class TrialRun:
    status = "off"
    logger: Any = None

    def log(self, row: dict[str, float]) -> None: ...
    def replay(self, rows: Iterable[dict[str, float]]) -> None: ...
    def summary(self, values: dict[str, Any]) -> None: ...
    def finish(self, failed: bool = False) -> None: ...


def open_run(
    track: Track,
    folder: str,
    *,
    run_id: str,
    name: str,
    group: str,
    job_type: str,
    config: dict[str, Any],
    tags: list[str],
) -> TrialRun:
    return TrialRun()


def probe(track: Track) -> tuple[Track, str]:
    return track, ""
