"""Packed shards with known bytes, and a cache of them somewhere."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

from data_prep.pack import Item, Shard, write_shard
from pipeline.data.remote import ShardCache

DEADLINE, STALL = 1.0, 0.15
SAMPLE = 1000


class Packed:
    """Shards of random bytes, and what each place of them holds."""

    def __init__(self, folder: Path, count: int, samples: int = 40) -> None:
        self.folder = folder
        self.shards: list[Shard] = []
        self.places: list[list[tuple[int, int]]] = []
        rng = random.Random(0)
        for number in range(count):
            items = [Item(f"{k:05d}", "jpg", rng.randbytes(SAMPLE), 0) for k in range(samples)]
            shard, places = write_shard(folder / f"train-{number:05d}.tar", items)
            self.shards.append(shard)
            self.places.append(places)
        self.data = [(folder / shard.name).read_bytes() for shard in self.shards]
        self.size = self.shards[0].bytes

    def objects(self) -> dict[str, bytes]:
        return {f"/{shard.name}": data for shard, data in zip(self.shards, self.data, strict=True)}

    def unhashed(self) -> list[Shard]:
        return [Shard(shard.name, shard.samples, shard.bytes, "") for shard in self.shards]


@contextlib.contextmanager
def cache_of(
    address: str,
    packed: Packed,
    folder: Path,
    fits: float = 100,
    shards: list[Shard] | None = None,
    deadline: float = DEADLINE,
    verify: bool = True,
    stall: float = STALL,
) -> Iterator[ShardCache]:
    shards = shards or packed.shards
    urls = [f"{address}/{shard.name}" for shard in shards]
    cache = ShardCache(urls, shards, folder, int(fits * packed.size), deadline, stall, verify)
    try:
        yield cache
    finally:
        cache.close()


def check(cache: ShardCache, packed: Packed, number: int = 0) -> None:
    """Every sample of a shard, in random order, is the one that was packed."""
    places = list(packed.places[number])
    random.shuffle(places)
    for offset, size in places:
        assert cache.read(number, offset, size) == packed.data[number][offset : offset + size]


def here(folder: Path, kind: str = "tar") -> int:
    return len(list(folder.glob(f"*.{kind}")))
