"""Images per CPU-second, of the whole process tree, of data loaders that do the same work on the same files.

Photos: random-resized crop to 224 px, flip, normalise, batches of 64. CIFAR-10: pad by 4 and cut, flip, normalise,
batches of 256. Every loader runs in processes of its own, the loaders in turns, and figures are medians over the turns.
Timing starts after the first batch. A loader whose package is not installed is left out, with a line that says so.

    python -m benchmarks.loading --photos FOLDER_OR_ARCHIVE --cifar10 FOLDER_OR_ARCHIVE [--turns 3] [--only NAME]

Each is a folder or archive of class folders of JPEG files; of one with train/ beside others, only that is read.
"""

import argparse
import importlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.loaders import BASE, RACES
from benchmarks.processes import TICK, cpu_seconds, mebibytes
from benchmarks.table import show

SECONDS = 5.0
"""Longest stretch that is timed."""
LEFT = 2
"""Batches of an epoch that are not timed: workers have read them before they are asked for, as at the start."""


@dataclass(frozen=True)
class Cost:
    images: int
    cpu: float
    wall: float
    first: float
    """Seconds from making the loader to its first batch."""
    memory: float
    """MiB that the tree grew by, without what is mapped from the work's folder."""

    @property
    def rate(self) -> float:
        """Images per CPU-second."""
        return self.images / max(self.cpu, 1 / TICK)


def measure(make: Callable[[], Iterable[Any]], batch: int, images: int, mapped: Path) -> Cost:
    """Of a loader of ``images`` images an epoch, on one thread of torch."""
    before, _ = mebibytes()
    began = time.perf_counter()
    batches = iter(make())
    next(batches)
    first, cpu, wall = time.perf_counter() - began, cpu_seconds(), time.perf_counter()
    seen = 0
    for _ in itertools.islice(batches, max(1, images // batch - 1 - LEFT)):
        seen += batch
        if time.perf_counter() - wall > SECONDS:
            break
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    after, shared = mebibytes(mapped)
    return Cost(seen, cpu, wall, first, after - shared - before)


def extract(source: Path, folder: Path) -> None:
    """The source's class folders as ``folder/files``."""
    if source.is_dir():
        found = source
    else:
        found = folder / "extracted"
        shutil.unpack_archive(source, found, filter="data")
    while not any(found.glob("*/*.jp*g")):  # down to the class folders, past folders that hold everything
        inside = sorted(p for p in found.iterdir() if p.is_dir())
        if not inside:
            sys.exit(f"{source} holds no class folders of JPEG files.")
        found = next((p for p in inside if p.name == "train"), inside[0])
    (folder / "files").symlink_to(found.resolve())


def child(folder: Path, name: str, workers: int | None) -> Cost | str:
    """What one loader costs in a process of its own, or the last line of what went wrong. Without ``workers`` it only
    prepares its files."""
    command = [sys.executable, "-m", "benchmarks.loading", "--child", str(folder), name, str(workers)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        return (made.stderr.strip() or f"ended with {made.returncode}").splitlines()[-1]
    return Cost(**json.loads(made.stdout.splitlines()[-1]))


def run_child(folder: Path, name: str, workers: str) -> None:
    import torch

    from benchmarks.peers.work import Work

    torch.set_num_threads(1)
    race = RACES[folder.name]
    loader = race.loaders[name]
    work = Work(folder, race.size, race.batch, "uint8" if name.endswith("uint8") else "float32")
    module = importlib.import_module(f"benchmarks.peers.{loader.module}")
    if workers == "None":
        module.prepare(work, **loader.options)
        cost = Cost(0, 0, 0, 0, 0)
    else:
        images = len(work.samples())
        cost = measure(lambda: module.loader(work, int(workers), **loader.options), race.batch, images, folder)
    print(json.dumps(asdict(cost)), flush=True)
    os._exit(0)  # nobody waits for workers that have read ahead


def run(folder: Path, names: list[str], workers: list[int], turns: int) -> dict[str, dict[int, list[Cost]]]:
    """Costs by loader and number of workers, a turn of all after a turn of all."""
    costs: dict[str, dict[int, list[Cost]]] = {}
    for name in names:
        if isinstance(wrong := child(folder, name, None), str):
            print(f"{name} is left out: {wrong}")
        else:
            costs[name] = {w: [] for w in workers}
    for _, w, name in itertools.product(range(turns), workers, list(costs)):
        if isinstance(cost := child(folder, name, w), Cost):
            costs[name][w].append(cost)
            print(f"{name} | {w} | {json.dumps(asdict(cost))}", file=sys.stderr, flush=True)
        elif not costs[name][w]:
            print(f"{name} with {w} workers: {cost}")
    if not any(costs.get(BASE, {}).values()):
        sys.exit(f"Nothing to compare with: {BASE} gave no batch. Are there some thousand images?")
    return costs


def table(costs: dict[str, dict[int, list[Cost]]], workers: list[int]) -> None:
    def of(name: str, value: Callable[[Cost], float], *some: int) -> str:
        """Medians by number of workers."""
        return " / ".join(_median(costs[name][w], value) for w in some)

    everyone = {name: [c for of_workers in costs[name].values() for c in of_workers] for name in costs}
    base = median(cost.rate for cost in everyone[BASE])
    ends = sorted({workers[0], workers[-1]})
    rows = [
        [
            name,
            *(of(name, lambda c: c.rate, w) for w in workers),
            f"{median(c.rate for c in everyone[name]) / base:.2f}",
            of(name, lambda c: c.images / c.wall, workers[-1]),
            of(name, lambda c: c.first, *ends),
            of(name, lambda c: c.memory, *ends),
        ]
        for name in costs
        if everyone[name]
    ]
    count = "/".join(map(str, ends))
    rates = [f"W={w}" for w in workers]
    show(["images per CPU-s", *rates, f"x {BASE}", f"wall W={ends[-1]}", f"first s W={count}", f"MiB W={count}"], rows)


def _median(costs: list[Cost], value: Callable[[Cost], float]) -> str:
    if not costs:
        return "-"
    found = median(map(value, costs))
    return f"{found:.2f}" if found < 10 else f"{found:,.0f}"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return run_child(Path(sys.argv[2]), *sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for work in RACES:
        parser.add_argument(f"--{work}", type=Path, metavar="SOURCE")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--only", default="", help=f"regular expression of names; {BASE} is always there")
    arguments = parser.parse_args()
    workers = [int(w) for w in arguments.workers.split(",")]
    for work, race in RACES.items():
        if source := getattr(arguments, work):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / work
                folder.mkdir()
                extract(source, folder)
                names = [name for name in race.loaders if re.search(arguments.only, name) or name == BASE]
                costs = run(folder, names, workers, arguments.turns)
                print(f"\n{work}, {race.size} px")
                table(costs, workers)


if __name__ == "__main__":
    main()
