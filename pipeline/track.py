"""Track: the W&B mirror of a Trial, offline by default.

The Ledger is the memory; W&B is a copy for people who live there. So nothing here may stop a study: every call
swallows what wandb raises, a dead wandb-core is replaced, and what could not be kept is said in ``status``.
One Trial is one W&B run whose id is the Trial's digest: every attempt and every segment, in whatever process,
resumes it, and ``wandb sync`` stitches the offline fragments together.
"""

import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline.fragment import SAMPLES, Mark, find_fragments
from pipeline.wandb_service import brief, drop_empty, holds, init, init_online, process, reached, replace_service

EXAFLOPS = "compute/exaflops"
METRICS = ("train/loss", "train/lr", "val/error", "val/loss")
ROOM = 10_000_000
"""Bytes that must be free: on a full disk wandb drops rows without a word."""
REATTACHES = 3
REMEMBERED = 5000
"""Rows held in memory, to log again what a dying wandb-core had not written."""
PROBE_SECONDS = 15.0


class TrackMode(Enum):
    offline = "offline"
    online = "online"
    off = "off"


@dataclass
class Track:
    """Where the mirror goes; never part of a Trial."""

    mode: TrackMode = TrackMode.offline
    project: str = "crossover"
    entity: str = ""
    """W&B team or user; the account's default when empty."""
    system_stats: bool = False
    """Also log the use of CPU, GPU and memory: one more helper process per worker."""


_ASK = """
import os, wandb
try:
    wandb.Api(timeout=3)
except Exception as error:
    print(error, flush=True)
os._exit(0)
"""


def probe(track: Track) -> tuple[Track, str]:
    """Can the study go online? Called once, by the driver, so that all its runs agree.

    Asks in a process of its own, without a terminal to prompt for a key on, and for at most PROBE_SECONDS. Returns
    the track to use and, where online had to give way to offline, the reason in one sentence.
    """
    if track.mode is not TrackMode.online:
        return track, ""
    environ = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", **os.environ}
    command = [sys.executable, "-c", _ASK]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        asked = subprocess.run(command, env=environ, text=True, timeout=PROBE_SECONDS, check=True, **pipes)
    except subprocess.TimeoutExpired:
        answer = f"the server did not answer in {PROBE_SECONDS:g} s"
    except (subprocess.CalledProcessError, OSError) as error:
        answer = f"wandb does not start ({brief(error)})"
    else:
        answer = asked.stdout.strip()
    if not answer:
        return track, ""
    why = f"W&B stays offline: {brief(RuntimeError(answer))}. Set WANDB_API_KEY, or send the runs later: `wandb sync`."
    return replace(track, mode=TrackMode.offline), why


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
) -> "TrialRun":
    """The W&B run ``run_id`` (a Trial's digest, 64 characters), begun or resumed. Never raises: see ``status``.

    Files go to ``folder``/wandb, or to ``folder`` itself when that is its name.
    """
    home = Path(folder).resolve()
    identity = {
        "id": run_id,
        "project": track.project,
        "entity": track.entity or None,
        "name": name,
        "group": group,
        "job_type": job_type,
        "config": config,
        "tags": [tag[:64] for tag in tags if tag],
    }
    return TrialRun(track, home.parent if home.name == "wandb" else home, identity)


class TrialRun:
    """One process's part of a Trial's W&B run. No method raises."""

    def __init__(self, track: Track, home: Path, identity: dict[str, Any]) -> None:
        self.track, self.home, self.identity = track, home, identity
        self.status = "off" if track.mode is TrackMode.off else "ok"
        """off, ok, reattached (wandb-core died, nothing is missing), offline: WHY, or lost: WHY."""
        self._run: Any = None
        self._logger: Any = None
        self._service, self._reattached = 0, 0
        self._mark = Mark()
        self._recent: deque[dict[str, float]] = deque(maxlen=REMEMBERED)
        self._summary: dict[str, Any] = {}
        if self.status == "ok":
            self._begin()

    @property
    def logger(self) -> Any:
        """A Lightning WandbLogger that writes into this run and cannot raise either; None without a run."""
        if self._logger is None and self._run is not None:
            self._logger = _make_logger(self)
        return self._logger

    @property
    def run(self) -> Any:
        """wandb's own Run, or None."""
        return self._run

    def log(self, row: dict[str, float]) -> None:
        """One row of history. A row at or before the ``samples_seen`` that the run has reached is dropped."""
        try:
            if self._run is None or not self._mark.admits(row):
                return
            self._mark.advance(row)
        except (AttributeError, TypeError):
            return  # not a row
        if SAMPLES in row:
            self._recent.append(row)
        self.attempt(lambda run: run.log(row))

    def replay(self, rows: Iterable[dict[str, float]]) -> None:
        """The stretch that this Trial shares with others and did not log itself."""
        for row in rows:
            self.log(row)

    def summary(self, values: dict[str, Any]) -> None:
        self._summary.update(values)
        self.attempt(lambda run: run.summary.update(values))

    def finish(self, failed: bool = False) -> None:
        """Close the run, and look whether what was logged offline is on the disk."""
        full = self._run is not None and self._disk_full()
        while self._run is not None and not self.attempt(lambda run: run.finish(exit_code=int(failed))):
            pass  # each turn either reattached or gave up
        if self._run is None:
            return
        written = Path(self._run.settings.sync_file)
        offline, self._run = self._run.settings.mode == "offline", None
        if full:
            self._lose("disk full")
        elif offline and self._recent and not holds(written, self._mark.samples):
            self._lose(f"rows are missing in {written}")

    def attempt(self, action: Callable[[Any], object]) -> bool:
        """Do it to the run. False when that failed; the run has then been replaced, or given up."""
        if self._run is None:
            return False
        try:
            action(self._run)
        except (TypeError, ValueError):
            return True  # a value that W&B does not take; the run itself is sound
        except TimeoutError:
            process.unreachable = "the server stopped answering"
            self._lose(f"{process.unreachable}; `wandb sync --include-online` sends the rest")
            return False
        except Exception as error:
            self._reattach(error)
            return False
        return True

    def _begin(self) -> None:
        try:
            self._open()
        except Exception as error:
            self._reattach(error)

    def _open(self) -> None:
        """Create or resume the run. Raises what wandb raises."""
        self.home.mkdir(parents=True, exist_ok=True)
        if self._disk_full():
            return self._lose("disk full")
        online = self.track.mode is TrackMode.online and not process.unreachable
        run = init_online(self.home, self.track.system_stats, self.identity) if online else None
        if run is None:
            run = init(self.home, self.track.system_stats, self.identity, "offline")
        if self.track.mode is TrackMode.online and run.settings.mode == "offline":
            self.status = f"offline: {process.unreachable}"
        for metric in (SAMPLES, EXAFLOPS):
            run.define_metric(metric)
        for metric in METRICS:
            run.define_metric(metric, step_metric=SAMPLES)
        self._run, self._service = run, process.service
        earlier = [p for p in find_fragments(self.home, run.id) if p != Path(run.settings.sync_file)]
        self._mark = reached(run, drop_empty(earlier))
        return None

    def _reattach(self, error: Exception) -> None:
        """A new wandb-core, the same run, and the rows again that the dead one had not written."""
        while self._reattached < REATTACHES:
            self._reattached += 1
            self._run = None
            try:
                replace_service(self._service)
                self._service = process.service
                self._open()
                if self._run is None:
                    return
                for row in filter(self._mark.admits, list(self._recent)):
                    self._run.log(row)
                    self._mark.advance(row)
                self._run.summary.update(self._summary)
            except Exception as again:
                error = again
                continue
            if self.status == "ok":
                self.status = "reattached"
            return
        replace_service(self._service)
        self._lose(brief(error))

    def _lose(self, reason: str) -> None:
        self._run, self.status = None, f"lost: {reason}"

    def _disk_full(self) -> bool:
        try:
            return shutil.disk_usage(self.home).free < ROOM
        except OSError:
            return False  # no such folder: wandb says so itself


def _make_logger(trial: TrialRun) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    class TrialLogger(WandbLogger):
        """Lightning's own, except that it follows the run over a reattachment and never raises."""

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            trial.log({**metrics, "trainer/global_step": step} if step is not None else dict(metrics))

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            trial.attempt(lambda run: run.config.update(dict(params), allow_val_change=True))

    return TrialLogger(
        experiment=trial.run, save_dir=str(trial.home), project=trial.track.project, id=trial.identity["id"]
    )
