"""Whole studies through the real command and a real Ray: killed, interrupted, shared, private."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger import Ledger
from pipeline.record import stored_steps
from pipeline.store import Store

pytestmark = pytest.mark.slow

STUDY = [
    "arch=vit_pico,resnet_pico",
    "data=[fractal,digits]",
    "recipe=tiny32",
    "study.data=fractal",
    "study.name=small",
]
STUDY += ["data.fractal.classes=8", "data.fractal.per_class=40", "study.budgets=[640,1280,2560]", "track=off"]
STUDY += ["+study.tasks.d={data:digits,shots:[2],finetune_steps:6}", "placement.cpus=2"]
STUDY += ["placement.checkpoint_seconds=0", "placement.heartbeat_seconds=0.2"]


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_driver_outlives_its_test() -> Iterator[None]:
    """A test that fails half-way must not leave its study running beside the next one."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
        process.communicate()
    STARTED.clear()


def start(cwd: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", "run", *STUDY, *words]
    STARTED.append(subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    return STARTED[-1]


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def science(folder: Path) -> dict[str, dict]:
    return {r.digest: r.science() for r in Ledger(Store(str(folder / "runs"))).results()}


def weights(folder: Path) -> dict[str, bytes]:
    states = folder / "runs" / "states"
    return {str(p.relative_to(states)): p.read_bytes() for p in states.rglob("*.safetensors")}


def working(folder: Path) -> list[int]:
    """Processes that say they run a segment."""
    found = []
    for path in (folder / "runs" / "progress").glob("*.json"):
        try:
            found.append(json.loads(path.read_text())["pid"])
        except (FileNotFoundError, ValueError):
            continue
    return found


def below(driver: int) -> dict[int, str]:
    """Every process below this driver, with the name of its program."""
    found: dict[int, str] = {}
    frontier = [driver]
    while frontier:
        made = subprocess.run(
            ["ps", "-o", "pid=,comm=", "--ppid", ",".join(map(str, frontier))], capture_output=True, text=True
        )
        rows = {int(pid): name for pid, name in (line.split(None, 1) for line in made.stdout.splitlines())}
        found |= rows
        frontier = list(rows)
    return found


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(folder))
    return folder


def test_a_study_ends_with_laws_and_the_page(undisturbed: Path) -> None:
    study = undisturbed / "runs" / "studies" / "small"
    assert "<html" in (study / "report.html").read_text()
    assert json.loads((study / "laws.json").read_text())["metric"] == "val_error"
    assert len(science(undisturbed)) == 2 * 3 + 2 * 3 * 2


def test_the_same_command_again_does_nothing(undisturbed: Path) -> None:
    before = weights(undisturbed)
    began = time.monotonic()
    output = finish(start(undisturbed))
    assert "100%" not in output
    assert time.monotonic() - began < 30
    assert weights(undisturbed) == before


def test_driver_killed_at_random_moments(tmp_path: Path, undisturbed: Path) -> None:
    dice = random.Random(7)
    for _ in range(4):
        process = start(tmp_path)
        try:
            process.communicate(timeout=dice.uniform(8, 16))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    finish(start(tmp_path))
    assert science(tmp_path) == science(undisturbed)
    assert weights(tmp_path) == weights(undisturbed)


def test_a_killed_worker_is_replaced(tmp_path: Path, undisturbed: Path) -> None:
    process = start(tmp_path)
    progress = tmp_path / "runs" / "progress"
    for _ in range(2):
        wait_for(lambda: progress.exists() and any(progress.glob("*.json")))
        time.sleep(0.5)
        for pid in working(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(2)
    finish(process)
    assert science(tmp_path) == science(undisturbed)
    assert weights(tmp_path) == weights(undisturbed)


def test_a_killed_raylet_is_replaced_with_all_its_workers(tmp_path: Path, undisturbed: Path) -> None:
    process = start(tmp_path)
    wait_for(lambda: working(tmp_path))
    (raylet,) = (pid for pid, name in below(process.pid).items() if name == "raylet")
    os.kill(raylet, signal.SIGKILL)
    finish(process)
    assert science(tmp_path) == science(undisturbed)
    assert weights(tmp_path) == weights(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_politely(tmp_path: Path, undisturbed: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    progress = tmp_path / "runs" / "progress"
    wait_for(lambda: progress.exists() and any(progress.glob("*.json")))
    process.send_signal(number)
    assert "the same command continues" in finish(process, code=130)
    finish(start(tmp_path))
    assert science(tmp_path) == science(undisturbed)
    assert weights(tmp_path) == weights(undisturbed)


def test_two_drivers_do_not_repeat_each_others_work(tmp_path: Path, undisturbed: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    outputs = finish(first), finish(second)
    assert science(tmp_path) == science(undisturbed)
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs" / "states").rglob("*.json")]
    hosts = {r["host"]["pid"] for r in records}
    assert len(records) == len({r["key"] for r in records})
    assert len(hosts) > 1, outputs


def test_every_listener_is_on_loopback(tmp_path: Path) -> None:
    process = start(tmp_path)
    progress = tmp_path / "runs" / "progress"
    wait_for(lambda: progress.exists() and any(progress.glob("*.json")))
    inodes = set()
    for pid in {process.pid, *below(process.pid)}:
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(fd)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append((table, fields[1].rsplit(":", 1)[0]))
    process.send_signal(signal.SIGINT)
    finish(process, code=130)
    assert listening, "Ray listens somewhere"
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert {address for _, address in listening} <= loopback


def test_a_running_cluster_is_never_joined_unasked_and_works_by_address(tmp_path: Path, undisturbed: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        alone = start(tmp_path, "study.budgets=[640]")
        finish(alone)
        (tmp_path / "b").mkdir()
        finish(start(tmp_path / "b", f"placement.address={cluster.address}", "placement.cpus=null"))
    finally:
        cluster.shutdown()
    assert science(tmp_path / "b") == science(undisturbed)
    assert weights(tmp_path / "b") == weights(undisturbed)


def test_a_cluster_that_ray_start_made_is_used_by_address(tmp_path: Path, undisturbed: Path) -> None:
    """``ray start`` asks for the token that an earlier local run left in the home folder."""
    assert (Path.home() / ".ray" / "auth_token").exists(), "the undisturbed study left one"
    port = "6397"
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    head = [*ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    folder = tempfile.mkdtemp(prefix="ray")
    with subprocess.Popen(
        [*head, f"--temp-dir={folder}", "--disable-usage-stats"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as cluster:
        try:
            wait_for(lambda: answers(int(port)))
            finish(start(tmp_path, f"placement.address=127.0.0.1:{port}", "placement.cpus=null"))
        finally:
            cluster.terminate()
    assert weights(tmp_path) == weights(undisturbed)


def test_a_budget_added_later_extends_the_trunk(tmp_path: Path) -> None:
    finish(start(tmp_path))
    store = Store(str(tmp_path / "runs"))
    made = subprocess.run(
        [sys.executable, "-m", "pipeline", "plan", *STUDY, "study.budgets=[640,1280,2560,5120]", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    stable = [s for s in json.loads(made.stdout)["segments"] if s["work"] == "stable"]
    assert len(stable) == 2
    for segment in stable:
        digest = segment["key"].split("/")[1]
        assert segment["first_step"] == max(stored_steps(store, digest)) == 64


def test_a_gang_of_two_workers_finishes_and_continues(tmp_path: Path) -> None:
    """Data-parallel by Ray Train and gloo: the same trials, recorded with their number of workers."""
    words = ["arch=vit_pico", "study.budgets=[640]", "study.tasks.d.shots=[2]", "placement.workers_per_trial=2"]
    finish(start(tmp_path, *words))
    results = Ledger(Store(str(tmp_path / "runs"))).results()
    assert len(results) == 3
    assert all(r.outcome.value == "done" for r in results)
    assert {r.cost["workers"] for r in results} == {2}
    assert not list((tmp_path / "runs" / "progress").glob("*.json"))


def test_a_study_that_grows_is_killed_and_continues_to_its_page(tmp_path: Path) -> None:
    """Real trainings; whatever it finds, it keeps to its budget, repeats nothing, and says why it stopped."""
    words = [*STUDY[:4], "study.name=grown", "track=off", "data.fractal.classes=8", "data.fractal.per_class=40"]
    words += ["study.budgets=[640,1280,2560,5120]", "placement.cpus=2"]
    words += ["study.adaptive.budget=3e11", "study.adaptive.least=0", "study.adaptive.reach=2"]
    first = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    STARTED.append(first)
    ledger = Ledger(Store(str(tmp_path / "runs")))
    deadline = time.monotonic() + 240
    while len(ledger.known()) < 9 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    before = {r.digest: r.to_json() for r in ledger.results()}
    again = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Stopped: " in again.stdout
    after = {r.digest: r.to_json() for r in ledger.results()}
    assert len(after) > 8 and {d: after[d] for d in before} == before
    assert (tmp_path / "runs/studies/grown/report.html").exists()
