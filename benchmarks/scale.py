"""What an index of 100 million images costs: opening it, a worker's memory, a shuffled batch of subsets of any size.

Rows are synthetic, and no image exists: what is measured is all that happens before bytes are read. Two workers run at
the same time, so that what they share is seen to be shared.

    python -m benchmarks.scale [--rows 100000000] [--folder FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import mebibytes
from benchmarks.table import show
from data_prep.index import ROW, Index, read_index, save_index
from pipeline.data.order import sample_ids
from pipeline.subset import Subset

BATCH, BATCHES = 1024, 50
CHUNK = 2**22
BLOCK, WINDOW = 10_000, 16
"""Of the order for data larger than a node's cache."""


def synthetic(folder: Path, count: int) -> str:
    """An index of ``count`` rows; returns its digest."""
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", ROW, (count,))
    for start in range(0, count, CHUNK):
        part = rows[start : start + CHUNK]
        k = np.arange(start, start + len(part))
        part["offset"], part["shard"], part["size"] = k % 2000 * 110_592 + 512, k // 2000, 110_000
        part["label"], part["content"], part["width"], part["height"] = k % 21_841, k, 500, 375
    digest = save_index(folder, "train", Index(rows))
    (folder / "rows.npy").unlink()
    return digest


def worker(folder: Path, digest: str) -> dict[str, float]:
    """Seconds and MiB."""
    before, _ = mebibytes()
    began = time.perf_counter()
    index = read_index(folder, "train", digest)
    found = {"open": time.perf_counter() - began}
    total = len(index)
    subsets = {
        "1 %": Subset("0" * 64, total // 100),
        "10 %": Subset("0" * 64, total // 10),
        "all": Subset("0" * 64, total),
        "all, in blocks": Subset("0" * 64, total, block=BLOCK, window=WINDOW),
    }
    for name, subset in subsets.items():
        began = time.perf_counter()
        _batch(index, subset, 0)
        found[f"first batch of {name}"] = time.perf_counter() - began
        began = time.perf_counter()
        for step in range(1, BATCHES + 1):
            _batch(index, subset, step)
        found[f"batch of {name}"] = (time.perf_counter() - began) / BATCHES
    after, mapped = mebibytes(folder)
    return found | {"own": after - mapped - before, "mapped": mapped}


def _batch(index: Index, subset: Subset, step: int) -> int:
    """Places of a batch's images in the shards."""
    ids = sample_ids(subset, len(index), 0, step * BATCH, (step + 1) * BATCH)
    return int(index.rows[ids]["offset"].sum())


def run(folder: Path, count: int) -> list[list[str]]:
    digest = synthetic(folder, count)
    began = time.perf_counter()
    read_index(folder, "train", digest)
    first = time.perf_counter() - began
    command = [sys.executable, "-m", "benchmarks.scale", "--worker", digest, "--folder", str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    costs: list[dict[str, Any]] = [json.loads(process.communicate()[0]) for process in running]
    size = (folder / "train.index.npy").stat().st_size / 2**30
    rows = [
        [f"index of {count:,} images", f"{size:.2f} GiB"],
        ["opened, once per node, its digest read", f"{first:.1f} s"],
        ["opened after that", f"{1e3 * max(cost['open'] for cost in costs):.0f} ms"],
    ]
    for name in [name.removeprefix("first ") for name in costs[0] if name.startswith("first ")]:
        first, each = (1e3 * max(cost[key] for cost in costs) for key in (f"first {name}", name))
        rows.append([f"{name}: the first of an epoch, any other", f"{first:,.0f} ms, {each:.1f} ms"])
    own, mapped = (max(cost[key] for cost in costs) for key in ("own", "mapped"))
    return [*rows, ["memory of a worker: its own, of the shared map", f"{own:.0f} MiB, {mapped:,.0f} MiB"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, help="on a disk with room for twice the index")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments.folder, arguments.worker)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        show([f"batches of {BATCH:,}", ""], run(Path(name), arguments.rows))


if __name__ == "__main__":
    main()
