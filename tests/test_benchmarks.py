import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import processes, scale
from benchmarks.loaders import BASE, RACES
from benchmarks.loading import measure

SPIN = "import time\nwhile time.process_time() < 0.5: pass"


def test_the_cpu_time_of_a_child_counts_while_it_runs_and_after_it_ended() -> None:
    before = processes.cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", SPIN + "\ntime.sleep(60)"])
    deadline = time.monotonic() + 60
    while processes.cpu_seconds() - before < 0.45 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes.cpu_seconds() - before >= 0.45
    child.kill()
    child.wait()
    assert processes.cpu_seconds() - before >= 0.45


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from benchmarks import processes
folder = Path(sys.argv[1])
np.save(folder / "map.npy", np.zeros(32 * 2**20, np.uint8))
total, nothing = processes.mebibytes(folder)
own = np.ones(48 * 2**20, np.uint8)
array = np.load(folder / "map.npy", mmap_mode="r")
assert int(array.sum()) + int(own[0]) == 1
after, mapped = processes.mebibytes(folder)
print(nothing, mapped, after - mapped - total)
"""


def test_memory_tells_a_mapped_file_from_the_processs_own(tmp_path: Path) -> None:
    """In a fresh process: one that has freed memory before may take the new array from that."""
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    nothing, mapped, own = map(float, done.stdout.split())
    assert nothing == 0
    assert 31 < mapped < 34
    assert 46 < own < 60


def test_a_loader_is_timed_after_its_first_batch(tmp_path: Path) -> None:
    def batches():
        time.sleep(0.3)
        for _ in range(10):
            yield None
            time.sleep(0.01)

    began = time.perf_counter()
    cost = measure(batches, 4, 40, tmp_path)
    assert cost.images == 4 * (10 - 1 - 2)
    assert cost.first >= 0.3
    assert 0.07 <= cost.wall < time.perf_counter() - began - 0.3


def test_every_race_has_its_base_and_every_loader_its_file() -> None:
    import benchmarks.peers

    for race in RACES.values():
        assert BASE in race.loaders
        for loader in race.loaders.values():
            assert (Path(benchmarks.peers.__file__).parent / f"{loader.module}.py").exists()


def test_the_cost_of_an_index_is_measured(tmp_path: Path) -> None:
    rows = dict(scale.run(tmp_path, 200_000))
    assert "batch of all, in blocks: the first of an epoch, any other" in rows


@pytest.mark.slow
def test_ours_is_raced_against_imagefolder(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for k in range(1100):
        folder = tmp_path / "photos" / f"class{k % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{k}.jpg")
    words = ["--cifar10", str(tmp_path / "photos"), "--turns", "1", "--workers", "0", "--only", "cache"]
    made = subprocess.run([sys.executable, "-m", "benchmarks.loading", *words], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "| ImageFolder" in made.stdout
