"""Track: the W&B mirror of a Trial, offline by default. The only file that imports wandb, and late.

The Ledger is the memory; W&B is a copy for people who live there. So nothing here may stop a study: every call
swallows what wandb raises, a dead wandb-core is replaced, and what could not be kept is said in ``status``.
One Trial is one W&B run whose id is the Trial's digest: every attempt and every segment, in whatever process,
resumes it, and ``wandb sync`` stitches the offline fragments together.
"""

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline.fragment import SAMPLES, Mark, find_fragments, read_records

EXAFLOPS = "compute/exaflops"
METRICS = ("train/loss", "train/lr", "val/error", "val/loss")
ROOM = 10_000_000
"""Bytes that must be free: on a full disk wandb drops rows without a word."""
REATTACHES = 3
REMEMBERED = 5000
"""Rows held in memory, to log again what a dying wandb-core had not written."""
PROBE_SECONDS, LOGIN_SECONDS, INIT_SECONDS, FINISH_SECONDS, CLOSE_SECONDS = 3, 5.0, 10.0, 15.0, 1.0


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


@dataclass
class _Process:
    """What this process knows of wandb, which is one service per process."""

    service: int = 0
    """Counts the wandb-cores torn down, so that two runs do not both replace the same one."""
    unreachable: str = ""
    """Why online gave way to offline, for the rest of the process."""
    environ: dict[str, str] = field(default_factory=dict)
    """Variables that we set, and may set again."""


_process = _Process()


def probe(track: Track) -> tuple[Track, str]:
    """Can the study go online? Called once, by the driver, so that all its runs agree.

    Returns the track to use and, where online had to give way to offline, the reason in one sentence.
    """
    if track.mode is not TrackMode.online:
        return track, ""
    try:
        wandb = _import_wandb()
        wandb.setup(wandb.Settings(silent=True))
        if not wandb.login(prompt=False, verify=False):
            raise ConnectionError("there is no API key: set WANDB_API_KEY or run `wandb login`")
        wandb.Api(timeout=PROBE_SECONDS)
        reason = ""
    except Exception as error:
        reason = f"W&B stays offline: {_brief(error)}."
    _replace_service(_process.service)
    return (replace(track, mode=TrackMode.offline), reason) if reason else (track, "")


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
        if self._run is None or not self._mark.admits(row):
            return
        self._mark.advance(row)
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
            self.status = "lost: disk full"
        elif offline and self._recent and not _holds(written, self._mark.samples):
            self.status = f"lost: rows are missing in {written}"

    def attempt(self, action: Callable[[Any], object]) -> bool:
        """Do it to the run. False when that failed; the run has then been replaced, or given up."""
        if self._run is None:
            return False
        try:
            action(self._run)
        except (TypeError, ValueError):
            return True  # a value that W&B does not take; the run itself is sound
        except TimeoutError:
            _process.unreachable = "the server stopped answering"
            self._lose(f"{_process.unreachable}; `wandb sync --include-online` sends the rest")
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
        online = self.track.mode is TrackMode.online and not _process.unreachable
        run = _init_online(self.home, self.track, self.identity) if online else None
        if run is None:
            run = _init(self.home, self.track, self.identity, "offline")
        if self.track.mode is TrackMode.online and run.settings.mode == "offline":
            self.status = f"offline: {_process.unreachable}"
        for metric in (SAMPLES, EXAFLOPS):
            run.define_metric(metric)
        for metric in METRICS:
            run.define_metric(metric, step_metric=SAMPLES)
        self._run, self._service = run, _process.service
        self._mark = _reached(run, self.home)
        return None

    def _reattach(self, error: Exception) -> None:
        """A new wandb-core, the same run, and the rows again that the dead one had not written."""
        while self._reattached < REATTACHES:
            self._reattached += 1
            self._run = None
            try:
                _replace_service(self._service)
                self._service = _process.service
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
        self._lose(_brief(error))

    def _lose(self, reason: str) -> None:
        self._run, self.status = None, f"lost: {reason}"

    def _disk_full(self) -> bool:
        return shutil.disk_usage(self.home).free < ROOM


def _reached(run: Any, home: Path) -> Mark:
    """How far the history of a resumed run goes: by the server, or by the fragments on this disk."""
    if run.settings.mode == "offline":
        written = Path(run.settings.sync_file)
        return _stored_mark([path for path in find_fragments(home, run.id) if path != written])
    seen = run.summary.get(SAMPLES) if run.resumed else None
    return Mark(float(seen), set(run.summary.keys())) if seen is not None else Mark()


def _holds(fragment: Path, samples: float) -> bool:
    """Whether the fragment reaches ``samples``; wandb-core closes it a moment after it says so."""
    until = time.monotonic() + CLOSE_SECONDS
    while _stored_mark([fragment]).samples < samples:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _stored_mark(fragments: list[Path]) -> Mark:
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    mark = Mark()
    for path in fragments:
        for data in read_records(path):
            record = Record.FromString(data)
            if record.HasField("history"):
                items = record.history.item
                mark.advance({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
    return mark


def _init_online(home: Path, track: Track, identity: dict[str, Any]) -> Any:
    """The run, or None when the server cannot be reached; the process then stays offline."""
    try:
        return _init(home, track, identity, "online")
    except Exception as error:
        _process.unreachable = _brief(error)
        _replace_service(_process.service)  # else wandb holds the id as in use
        return None


def _init(home: Path, track: Track, identity: dict[str, Any], mode: str) -> Any:
    _set_folders(home / "wandb", mode)
    wandb = _import_wandb()
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        x_disable_meta=True,
        x_save_requirements=False,
        x_disable_stats=not track.system_stats,
        x_transaction_log_flush_interval=2,
        login_timeout=LOGIN_SECONDS,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
    return wandb.init(**identity, mode=mode, dir=str(home), resume="allow", reinit="create_new", settings=settings)


def _import_wandb() -> Any:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import; without it, offline still calls home
    import wandb

    return wandb


def _set_folders(folder: Path, mode: str) -> None:
    """Keep wandb's files with the study, unless the user chose otherwise. Online reads the user's own settings."""
    folders = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
    if mode == "offline":
        folders["WANDB_CONFIG_DIR"] = "config"
    for name, part in folders.items():
        if os.environ.get(name) == _process.environ.get(name):
            _process.environ[name] = os.environ[name] = str(folder / part)


def _replace_service(service: int) -> None:
    """End wandb-core, unless another run did so since ``service``; the next init starts a new one."""
    if service != _process.service:
        return
    _process.service += 1
    try:
        _import_wandb().teardown()
    except Exception:  # a core that is dead already
        return


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


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") if lines else type(error).__name__)[:200]
