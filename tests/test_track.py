"""The W&B mirror against real wandb processes and a real server on loopback."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_stub import WandbStub

from pipeline import track as tracking
from pipeline import wandb_service as service
from pipeline.fragment import find_fragments, read_records
from pipeline.track import Track, TrackMode, TrialRun, open_run, probe

RUN = "ab" * 32
CONFIG = {"arch": "vit-s8", "trial": {"seed": 1, "recipe": {"lr": 0.001}}, "flops": 10**15}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbStub]:
    """A server, a user with a key and an empty home; afterwards no wandb process is left."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fresh = service.Process()
    monkeypatch.setattr(service, "process", fresh)
    monkeypatch.setattr(tracking, "process", fresh)
    monkeypatch.setattr(service, "FINISH_SECONDS", 3.0)
    before = dict(os.environ)
    with WandbStub() as stub:
        monkeypatch.setenv("WANDB_BASE_URL", stub.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        yield stub
        service.replace_service(service.process.service)
    for name in [name for name in os.environ if name.startswith("WANDB") and name not in before]:
        os.environ.pop(name)
    assert not cores()


def cores() -> list[int]:
    """Living wandb-core children of this process."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-r", "S,R,D", "wandb"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def begin(folder: Path, mode: TrackMode = TrackMode.offline, run_id: str = RUN) -> TrialRun:
    return open_run(
        Track(mode),
        str(folder),
        run_id=run_id,
        name="vit-s8 n1000 b5000 s1",
        group="quickstart",
        job_type="pretrain",
        config=CONFIG,
        tags=["vit", "vit-s8"],
    )


def points(first: int, last: int) -> list[dict[str, float]]:
    """Rows of steps first to last, both included."""
    return [
        {
            "step": float(s),
            "samples_seen": s * 32.0,
            "compute/exaflops": s * 1.5e-9,
            "train/loss": 2.0 / s,
            "train/lr": 0.1,
        }
        for s in range(first, last + 1)
    ]


def sync(folder: Path) -> str:
    paths = [str(p.parent) for p in folder.glob("wandb/*run-*/run-*.wandb")]
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--include-online", *paths],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "WANDB_ERROR_REPORTING": "false"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def samples(stored: Any) -> list[float]:
    return [row["samples_seen"] for row in stored.rows if "samples_seen" in row]


def in_child(scenario: str, folder: Path) -> None:
    """Run a function of this file in a fresh process, which must end soon and say nothing."""
    code = f"import test_track; from pathlib import Path; test_track.{scenario}(Path({str(folder)!r}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def first_fragment(folder: Path) -> None:
    run = begin(folder)
    run.replay(points(1, 20))
    run.finish(failed=True)


def test_off_imports_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.track import *\n"
        f"run = open_run(Track(TrackMode.off), {str(tmp_path / 'no')!r}, run_id='a', name='', group='', job_type='',"
        " config={}, tags=[])\n"
        "run.log({'samples_seen': 1.0}); run.replay([{}]); run.summary({}); assert run.logger is None\n"
        "run.finish(); assert run.status == 'off' and probe(Track(TrackMode.off))[1] == ''\n"
        "assert not {'wandb', 'lightning', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not (tmp_path / "no").exists()


def test_offline_fragments_of_two_processes_become_one_run(server: WandbStub, tmp_path: Path) -> None:
    in_child("first_fragment", tmp_path)
    run = begin(tmp_path)
    run.replay(points(11, 20))  # repeated by a restart from a checkpoint
    for row in points(18, 40):
        run.log(row)
    run.log({**points(40, 40)[0], "val/error": 0.25, "val/loss": 0.9})
    run.log({"odd": object()})  # type: ignore[dict-item]
    run.log({"samples_seen": None, "odd": 1.0})  # type: ignore[dict-item]
    run.summary({"test_error": 0.125})
    run.finish()
    assert run.status == "ok"
    assert server.requests == [], "offline, nothing may be sent"
    assert not (tmp_path / "home").exists()

    sync(tmp_path)
    (name,) = server.runs
    stored = server.runs[name]
    assert name == RUN
    assert stored.upsert["groupName"] == "quickstart"
    assert stored.upsert["jobType"] == "pretrain"
    assert stored.upsert["displayName"] == "vit-s8 n1000 b5000 s1"
    assert set(stored.upsert["tags"]) == {"vit", "vit-s8"}
    assert stored.config == CONFIG
    assert samples(stored) == [s * 32.0 for s in [*range(1, 41), 40]]
    assert stored.rows[3]["compute/exaflops"] == 4 * 1.5e-9
    assert stored.rows[-1]["val/error"] == 0.25
    assert stored.summary["test_error"] == 0.125
    assert stored.exit_code == 0


def test_online_is_live_and_resumes(server: WandbStub, tmp_path: Path) -> None:
    assert probe(Track(TrackMode.online)) == (Track(TrackMode.online), "")
    assert not cores(), "the probe leaves nothing behind"
    for first, last in ((1, 10), (6, 20)):
        run = begin(tmp_path, TrackMode.online)
        run.replay(points(first, last))
        run.finish()
        assert run.status == "ok"
    stored = server.runs[RUN]
    assert samples(stored) == [s * 32.0 for s in range(1, 21)]
    assert stored.config == CONFIG


def test_eight_trials_in_one_process_are_eight_runs(server: WandbStub, tmp_path: Path) -> None:
    os.environ["WANDB_MODE"] = "online"  # a user's own setting must survive and must not win
    names = [f"{i:064x}" for i in range(8)]
    for name in names:
        run = begin(tmp_path, run_id=name)
        run.replay(points(1, 5))
        run.finish()
        assert run.status == "ok"
    assert os.environ.pop("WANDB_MODE") == "online"
    assert server.requests == []
    written = [path for name in names for path in find_fragments(tmp_path, name)]
    assert sorted(path.stem.removeprefix("run-") for path in written) == names
    for path in written:
        assert service.stored_mark([path]).samples == 5 * 32


def kill_cores() -> None:
    for pid in cores():
        os.kill(pid, signal.SIGKILL)


def log_slowly(run: TrialRun, first: int, last: int) -> None:
    for row in points(first, last):
        run.log(row)
        time.sleep(0.01)


def core_killed_twice(folder: Path) -> None:
    run, other = begin(folder), begin(folder, run_id="cd" * 32)
    run.replay(points(1, 10))
    other.replay(points(1, 5))
    run.summary({"early": 1})
    kill_cores()
    log_slowly(run, 11, 20)
    kill_cores()
    log_slowly(run, 21, 30)
    log_slowly(other, 6, 6)
    run.finish()
    other.finish()
    assert (run.status, other.status) == ("reattached", "reattached")


def core_always_dies(folder: Path) -> None:
    run = begin(folder)
    for step in range(1, 6):
        log_slowly(run, 10 * step, 10 * step + 9)
        kill_cores()
    run.summary({"x": 1})
    run.finish()
    assert run.status.startswith("lost: ")


def test_killed_core_is_replaced_and_no_row_is_lost(server: WandbStub, tmp_path: Path) -> None:
    in_child("core_killed_twice", tmp_path)
    sync(tmp_path)
    assert samples(server.runs[RUN]) == [s * 32.0 for s in range(1, 31)]
    assert server.runs[RUN].summary["early"] == 1
    assert samples(server.runs["cd" * 32]) == [s * 32.0 for s in range(1, 7)]


def test_core_that_always_dies_is_given_up(server: WandbStub, tmp_path: Path) -> None:
    in_child("core_always_dies", tmp_path)


@pytest.mark.parametrize(
    ("folder", "error", "news"),
    [("wandb", "ConnectionResetError", False), ("wandb", "ValueError", True), ("other", "ConnectionResetError", True)],
)
def test_only_the_lost_connection_of_wandb_is_no_news(folder: str, error: str, news: bool, tmp_path: Path) -> None:
    with pytest.raises((ConnectionError, ValueError)) as raised:
        exec(compile(f"raise {error}('x')", str(tmp_path / folder / "client.py"), "exec"))
    info = (raised.type, raised.value, raised.tb)
    assert service.is_news(logging.LogRecord("asyncio", logging.ERROR, "", 0, "Future", None, info)) is news
    assert service.is_news(logging.LogRecord("asyncio", logging.ERROR, "", 0, "Slow", None, None))


@pytest.mark.slow
def test_unreachable_server_falls_back_to_offline(
    server: WandbStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(service, "INIT_SECONDS", 1.0)
    monkeypatch.setattr(service, "LOGIN_SECONDS", 1.0)
    began = time.monotonic()
    fallback, reason = probe(Track(TrackMode.online))
    assert fallback == Track(TrackMode.offline)
    assert "127.0.0.1:9" in reason
    for name in (RUN, "cd" * 32):
        run = begin(tmp_path, TrackMode.online, run_id=name)
        run.replay(points(1, 3))
        run.finish()
        assert run.status.startswith("offline: ")
    assert time.monotonic() - began < 12
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_online_without_a_key(server: WandbStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    fallback, reason = probe(Track(TrackMode.online, entity="lab"))
    assert fallback == Track(TrackMode.offline, entity="lab")
    assert "WANDB_API_KEY" in reason


def test_full_disk_is_said(server: WandbStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path)
    run.replay(points(1, 3))
    monkeypatch.setattr(tracking, "ROOM", 2**62)
    run.finish()
    assert run.status == "lost: disk full"
    run = begin(tmp_path)
    run.log(points(4, 4)[0])
    run.finish()
    assert run.status == "lost: disk full"


def test_folder_deleted_meanwhile_is_said(server: WandbStub, tmp_path: Path) -> None:
    run = begin(tmp_path / "store")
    run.replay(points(1, 3))
    shutil.rmtree(tmp_path / "store")
    run.finish()
    assert run.status.startswith(("lost: rows are missing", "reattached"))


def test_unwritable_folder_is_said(server: WandbStub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = begin(tmp_path / "file")
    run.log(points(1, 1)[0])
    run.finish()
    assert run.status.startswith("lost: ")


@pytest.mark.slow  # imports torch
def test_lightning_logs_into_the_same_run(server: WandbStub, tmp_path: Path) -> None:
    run = begin(tmp_path)
    logger = run.logger
    assert (logger.name, logger.version) == ("crossover", RUN)
    assert logger.experiment is run.run
    logger.log_hyperparams({"extra": 3})
    logger.log_metrics({"own": 1.0}, step=7)
    run.replay(points(1, 2))
    run.finish()
    logger.log_metrics({"own": 2.0}, step=8)
    sync(tmp_path)
    assert server.runs[RUN].rows[0]["trainer/global_step"] == 7
    assert len(server.runs[RUN].rows) == 3
    assert server.runs[RUN].config["extra"] == 3


def test_records_over_block_borders_and_torn_tails(server: WandbStub, tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.replay(points(1, 400))
    run.finish()
    (path,) = find_fragments(tmp_path, RUN)
    whole = list(read_records(path))
    assert path.stat().st_size > 3 * 32 * 1024
    assert service.stored_mark([path]).samples == 400 * 32
    torn = tmp_path / "torn.wandb"
    for size in (0, 3, 7, 50, 40_000, path.stat().st_size - 1):
        torn.write_bytes(path.read_bytes()[:size])
        part = list(read_records(torn))
        assert part == whole[: len(part)]
    assert service.stored_mark([torn]).samples == 400 * 32  # only the exit record is torn


@pytest.mark.slow
def test_kill_nine_loses_nothing_that_the_next_attempt_repeats(server: WandbStub, tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; import test_track as t\n"
        f"run = t.begin(Path({str(tmp_path)!r})); run.replay(t.points(1, 20)); time.sleep(4)\n"
        "run.replay(t.points(21, 23)); print('logged', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "logged\n"
        child.kill()
    run = begin(tmp_path)
    run.replay(points(16, 30))  # the checkpoint was at step 15
    run.finish()
    sync(tmp_path)
    assert samples(server.runs[RUN]) == [s * 32.0 for s in range(1, 31)]


@pytest.mark.slow
def test_server_that_dies_in_the_middle_does_not_hold_the_study(server: WandbStub, tmp_path: Path) -> None:
    run = begin(tmp_path, TrackMode.online)
    run.replay(points(1, 5))
    server.__exit__()
    run.replay(points(6, 10))
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 8
    assert run.status.startswith("lost: the server stopped answering")
    after = begin(tmp_path, TrackMode.online, run_id="cd" * 32)
    after.finish()
    assert after.status.startswith("offline: ")
    shutil.rmtree(tmp_path / "wandb")
