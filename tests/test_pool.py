"""The executor of preparing: here first, then Ray tasks; whoever does it, the bytes are the same.

What Ray runs here is defined inside tests, since its workers cannot import them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from data_prep.verify import verify
from pipeline.cli import main
from pipeline.errors import BadInput
from pipeline.placement import Placement
from pipeline.pool import IN_FLIGHT, Pool

SOURCE = FractalSource(image_size=16, classes=6, per_class=200, points=256)


def double(number: int) -> int:
    return 2 * number


def test_short_work_is_done_here_and_lazily() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    with Pool(Placement()) as pool:
        results = pool.map(double, jobs())
        assert next(iter(results)) == 0
        assert taken == [0]
        assert list(results) == [2, 4, 6, 8]
        assert pool._ray is None


@pytest.fixture(scope="module")
def spread() -> Iterator[Pool]:
    """On Ray from the first job."""
    with Pool(Placement(cpus=2, retries=1), here_seconds=0.0) as pool:
        yield pool


def test_ray_takes_a_bounded_number_and_gives_results_in_order(spread: Pool) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number

    results = spread.map(lambda number: 2 * number, jobs())
    assert next(iter(results)) == 0
    assert len(taken) <= IN_FLIGHT * 2 + 1
    assert list(results) == [2 * number for number in range(1, 40)]


def test_what_a_task_raises_is_raised_the_first_in_order(spread: Pool) -> None:
    def refuse_odd(number: int) -> int:
        if number % 2:
            raise BadInput(f"{number} is odd: take another.")
        return number

    with pytest.raises(BadInput, match=r"^1 is odd: take another\.$"):
        list(spread.map(refuse_odd, range(20)))
    assert list(spread.map(refuse_odd, [2, 4])) == [2, 4], "and it works on"


def test_a_worker_that_dies_is_replaced(spread: Pool, tmp_path: Path) -> None:
    def kill_once(number: int) -> int:
        mark = tmp_path / str(number)
        if number % 3 == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    assert list(spread.map(kill_once, range(8))) == list(range(8))


def test_ray_prepares_and_verifies_the_same_bytes(spread: Pool, tmp_path: Path) -> None:
    here = prepare(SOURCE, "f", tmp_path / "here")[1]
    there = prepare(SOURCE, "f", tmp_path / "there", spread.map)[1]
    assert {f.name: f.read_bytes() for f in here.iterdir()} == {f.name: f.read_bytes() for f in there.iterdir()}
    assert verify(there, spread.map) == 1200


def test_who_gives_up_waits_until_nothing_is_written_any_more(spread: Pool, tmp_path: Path) -> None:
    def slow(number: int) -> None:
        if number == 1:
            raise BadInput("One is bad.")
        (tmp_path / f"begun{number}").touch()
        time.sleep(0.5)
        (tmp_path / f"ended{number}").touch()

    with pytest.raises(BadInput, match=r"One is bad\."):
        list(spread.map(slow, range(8)))
    before = sorted(tmp_path.iterdir())
    time.sleep(1.0)
    assert sorted(tmp_path.iterdir()) == before


def test_a_worker_that_always_dies_is_one_sentence(spread: Pool) -> None:
    with pytest.raises(BadInput, match=r"died 2 times in a row .*the same command continues\."):
        list(spread.map(lambda number: os.kill(os.getpid(), signal.SIGKILL), [1]))


SPREAD = """
from pipeline.placement import Placement
from pipeline.pool import Pool

with Pool(Placement(cpus=2, retries=1), here_seconds=0.0) as pool:
    print(sum(pool.map(abs, range(9))))
"""


@pytest.mark.slow
def test_ray_that_dies_while_it_starts_is_started_once_more() -> None:
    """Ray itself waits half a minute for what has died."""
    command = [sys.executable, "-c", SPREAD]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started: list[int] = []
    while not started and process.poll() is None:
        listed = subprocess.run(["pgrep", "-x", "raylet", "-P", str(process.pid)], capture_output=True, text=True)
        started = [int(pid) for pid in listed.stdout.split()]
    os.kill(started[0], signal.SIGKILL)
    out, said = process.communicate()
    assert (process.returncode, out, said) == (0, "36\n", "")


def test_ray_that_never_starts_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import ray

    def refuse(**settings: object) -> None:
        raise Exception("The node timed out.\nMore of it.")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr("pipeline.pool.HERE_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "data=fractal", "placement.retries=1"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("Ray's processes on this machine died or did not start (Exception: The node timed out); its")
    assert said.endswith("the same command continues.")


def test_the_clock_of_the_first_seconds_is_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second map of the same pool goes on where the first one stopped."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Pool(Placement(), here_seconds=3.0) as pool:

        def work(number: int) -> None:
            now[0] += 1

        list(pool.map(work, [1, 2]))
        now[0] += 100
        monkeypatch.setattr(pool, "_spread", lambda function, jobs: iter(["spread", *jobs]))
        assert list(pool.map(work, [1, 2, 3])) == [None, "spread", 2, 3]
