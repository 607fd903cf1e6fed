"""The store on S3-compatible storage: a real server on loopback, real conditional puts."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("s3fs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "moto.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    code = (
        "import time, s3fs\n"
        "for _ in range(100):\n"
        "    try:\n        s3fs.S3FileSystem(skip_instance_cache=True).mkdir('runs'); break\n"
        "    except Exception: time.sleep(0.2)\n"
    )
    try:
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        yield "s3://runs/crossover"
    finally:
        server.terminate()
        server.wait()
        log.close()


CHECK = """
import sys
from pipeline.ledger import Ledger, Outcome, Result
from pipeline.lease import Lease
from pipeline.store import Store
store = Store(sys.argv[1])
store.check_writable()
store.put("a/b", b"1")
assert store.get("a/b") == b"1" and store.get("a/none") is None and store.keys("a") == ["a/b"]
assert store.create("a/once", b"1") and not store.create("a/once", b"2") and store.get("a/once") == b"1"
ledger = Ledger(store)
result = Result("ab12", "pretrain", {}, Outcome.done)
assert ledger.publish(result) and not ledger.publish(result) and ledger.known() == {"ab12"}
first, second = Lease(store, "k/1", 60), Lease(store, "k/1", 60)
assert first.acquire() and not second.acquire()
first.release()
assert second.acquire()
print("fine")
"""


def test_conditional_puts(bucket: str) -> None:
    made = subprocess.run(
        [sys.executable, "-c", CHECK, bucket], capture_output=True, text=True, timeout=120, check=False
    )
    assert made.stdout.strip() == "fine", made.stderr


def test_a_study_on_s3(bucket: str, tmp_path: Path) -> None:
    """Run by Ray, its workers writing to the bucket; the same command finds everything there."""
    words = [
        "arch=vit_pico",
        "data=fractal",
        "recipe=tiny32",
        "study.data=fractal",
        "track=off",
        "study.budgets=[320,640]",
    ]
    words += ["data.fractal.classes=4", "data.fractal.per_class=20", f"placement.store={bucket}", "placement.cpus=1"]
    for _ in range(2):
        command = [sys.executable, "-m", "pipeline", "run", *words]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
    status = [sys.executable, "-m", "pipeline", "status", "--json", f"placement.store={bucket}"]
    told = subprocess.run(status, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert json.loads(told)["studies"]["custom"]["done"] == 2
    assert not (tmp_path / "runs").exists()
