"""The wandb service of this process: start a run, end the service, read back what it wrote.

The only file that imports wandb, and late: a study without a tracker never loads it. Everything here may raise what
wandb raises; ``pipeline.track`` is where it stops.
"""

import contextlib
import json
import logging
import os
import shutil
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.fragment import BLOCK, SAMPLES, Mark, read_records

LOGIN_SECONDS, INIT_SECONDS, FINISH_SECONDS = 5.0, 10.0, 15.0
CLOSE_SECONDS, TEARDOWN_SECONDS = 1.0, 5.0


@dataclass
class Process:
    """What this process knows of wandb, which is one service per process."""

    service: int = 0
    """Counts the wandb-cores torn down, so that two runs do not both replace the same one."""
    unreachable: str = ""
    """Why online gave way to offline, for the rest of the process."""
    environ: dict[str, str] = field(default_factory=dict)
    """Variables that we set, and may set again."""


process = Process()


def init_online(home: Path, system_stats: bool, identity: dict[str, Any]) -> Any:
    """The run, or None when the server cannot be reached; the process then stays offline."""
    try:
        return init(home, system_stats, identity, "online")
    except Exception as error:
        process.unreachable = brief(error)
        replace_service(process.service)  # else wandb holds the id as in use
        return None


def init(home: Path, system_stats: bool, identity: dict[str, Any], mode: str) -> Any:
    """wandb's Run, begun or resumed by its id. The environment's WANDB_MODE is neither read nor written."""
    _set_folders(home / "wandb", mode)
    wandb = _import_wandb()
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        x_disable_meta=True,
        x_save_requirements=False,
        x_disable_stats=not system_stats,
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
        if os.environ.get(name) == process.environ.get(name):
            process.environ[name] = os.environ[name] = str(folder / part)


def replace_service(service: int) -> None:
    """End wandb-core, unless another run did so since ``service``; the next init starts a new one."""
    if service != process.service:
        return
    process.service += 1
    logging.getLogger("asyncio").addFilter(is_news)
    ending = threading.Thread(target=_teardown, daemon=True)  # wandb waits for its core without a limit
    ending.start()
    ending.join(TEARDOWN_SECONDS)


def _teardown() -> None:
    with contextlib.suppress(Exception):  # of a core that is dead already
        _import_wandb().teardown()


def is_news(record: logging.LogRecord) -> bool:
    """Whether asyncio has more to report than that wandb's connection to a core that died is gone."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, ConnectionError):
        return True
    return not any("wandb" in Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__))


def drop_empty(fragments: list[Path]) -> list[Path]:
    """Delete fragments whose process died before the first record: one of them makes ``wandb sync`` send nothing."""
    kept = [path for path in fragments if any(True for _ in read_records(path))]
    for path in set(fragments) - set(kept):
        if path.stat().st_size < BLOCK:  # a longer one is not empty but written in a way we do not know
            shutil.rmtree(path.parent, ignore_errors=True)
    return kept


def reached(run: Any, fragments: list[Path]) -> Mark:
    """How far the history of a resumed run goes: by the server, or by the fragments on this disk."""
    if run.settings.mode == "offline":
        return stored_mark(fragments)
    seen = run.summary.get(SAMPLES) if run.resumed else None
    return Mark(float(seen), set(run.summary.keys())) if seen is not None else Mark()


def holds(fragment: Path, samples: float) -> bool:
    """Whether the fragment reaches ``samples``; wandb-core closes it a moment after it says so."""
    until = time.monotonic() + CLOSE_SECONDS
    while stored_mark([fragment]).samples < samples:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def stored_mark(fragments: list[Path]) -> Mark:
    """How far the history in these files goes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    mark = Mark()
    for path in fragments:
        with contextlib.suppress(Exception):  # a damaged file counts up to its damage
            for data in read_records(path):
                record = Record.FromString(data)
                if record.HasField("history"):
                    items = record.history.item
                    mark.advance({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
    return mark


def brief(error: Exception) -> str:
    """The first line of its message."""
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") if lines else type(error).__name__)[:200]
