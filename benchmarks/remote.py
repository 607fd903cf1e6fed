"""Client CPU of reading remote shards, against webdataset's curl pipe: python -m benchmarks.remote

One nginx on loopback serves shards of about 27 MB, each of 256 samples of 110 KB of random bytes. Nothing is decoded.
webdataset streams them in order; ours fetches each shard whole into an empty cache and reads its samples by index, in
random order over all of them, and so does the third way with fsspec's own http driver in place of ours. The ways take
turns in one process; CPU is that of the process and of the children it waited for (curl; nginx is not among them), user
and system. Medians over rounds, ratios within a round. Two rows are parts of the others: what no way of this kind
can do without, on this machine.
"""

import argparse
import hashlib
import random
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import fsspec

from benchmarks.table import show
from data_prep.pack import Item, Shard, write_shard
from pipeline.data.files import ShardFiles
from pipeline.data.remote import ShardCache
from tests.servers import NGINX, nginx

SAMPLE, SAMPLES = 110_000, 256


@dataclass
class Served:
    address: str
    work: Path
    shards: list[Shard]
    places: list[tuple[int, int, int]]
    """(shard, offset, size) of every sample."""

    def urls(self) -> list[str]:
        return [f"{self.address}/{shard.name}" for shard in self.shards]

    def shuffled(self) -> list[tuple[int, int, int]]:
        return random.sample(self.places, len(self.places))


def pack(folder: Path, count: int) -> tuple[list[Shard], list[tuple[int, int, int]]]:
    shards, places = [], []
    for number in range(count):
        items = (Item(f"{k:09d}", "jpg", random.randbytes(SAMPLE), k % 10) for k in range(SAMPLES))
        shard, found = write_shard(folder / f"train-{number:05d}.tar", items)
        shards.append(shard)
        places += [(number, offset, size) for offset, size in found]
    return shards, places


def webdataset_pipe(served: Served) -> None:
    from webdataset.compat import WebDataset

    samples = WebDataset(served.urls(), shardshuffle=False)
    assert sum(len(sample["jpg"]) == SAMPLE for sample in samples) == len(served.places)


def ours(served: Served, verify: bool) -> None:
    cache = ShardCache(served.urls(), served.shards, served.work / "cache", 2**40, 60.0, verify=verify)
    for shard, offset, size in served.shuffled():
        assert len(cache.read(shard, offset, size)) == SAMPLE
    cache.close()


def fsspec_driver(served: Served) -> None:
    """As ours without its checks: fetched by fsspec."""
    fs, paths = fsspec.filesystem("http"), [served.work / "cache" / shard.name for shard in served.shards]
    for url, path in zip(served.urls(), paths, strict=True):
        fs.get_file(url, str(path), chunk_size=256 * 2**10)
    _read_all(served, paths)


def reads_alone(served: Served) -> None:
    """What is left of ours once a shard is here."""
    _read_all(served, [served.work / "root" / shard.name for shard in served.shards])


def sha256_alone(served: Served) -> None:
    for shard in served.shards:
        with (served.work / "root" / shard.name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def _read_all(served: Served, paths: list[Path]) -> None:
    files = ShardFiles(paths)
    for shard, offset, size in served.shuffled():
        assert len(files.read(shard, offset, size)) == SAMPLE
    files.close()


WAYS: dict[str, Callable[[Served], None]] = {
    "webdataset, curl pipe": webdataset_pipe,
    "ours, samples checked by their reader": lambda served: ours(served, verify=False),
    "ours, sha256 of every shard": lambda served: ours(served, verify=True),
    "fsspec http driver": fsspec_driver,
    "part: reads by index": reads_alone,
    "part: sha256": sha256_alone,
}
PEER = next(iter(WAYS))


def cpu() -> float:
    """Seconds, of this process and the children it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(served: Served, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU, wall) seconds of every way in every round but a first one, which warms up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for turn in range(rounds + 1):
        for name, way in WAYS.items():
            shutil.rmtree(served.work / "cache", ignore_errors=True)
            (served.work / "cache").mkdir()
            before, began = cpu(), time.perf_counter()
            way(served)
            if turn:
                taken[name].append((cpu() - before, time.perf_counter() - began))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8)
    arguments = parser.parse_args()
    if NGINX is None:
        raise SystemExit("nginx is not installed.")
    warnings.filterwarnings("ignore", module="webdataset")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "root").mkdir()
        shards, places = pack(work / "root", arguments.shards)
        with nginx(work / "root", work) as address:
            taken = measure(Served(address, work, shards, places), arguments.rounds)
    rows = []
    for name, times in taken.items():
        per_sample = median(used for used, _ in times) / len(places) * 1e3
        ratio = median(peer / used for (peer, _), (used, _) in zip(taken[PEER], times, strict=True))
        speed = len(places) * SAMPLE / 1e6 / median(wall for _, wall in times)
        rows.append([name, f"{per_sample:.3f}", f"**{ratio:.1f}**" if name != PEER else "1", f"{speed:.0f}"])
    show(["way", "CPU ms per sample", "times less", "wall MB/s"], rows)


if __name__ == "__main__":
    main()
