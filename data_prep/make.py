"""Make: one data set, in a folder of its own: packed into shards, indexed in place, or virtual."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from data_prep import durable
from data_prep.adopt import adopt
from data_prep.assemble import assemble
from data_prep.bring import bring
from data_prep.labels import Labels, resolve
from data_prep.manifest import Manifest
from data_prep.pack import Shard
from data_prep.part import Skipped
from data_prep.shards import Packed, jobs, pack
from data_prep.sources import FractalSource, PreparedSource, Source, WebdatasetSource
from data_prep.splits import LEFT_OUT, divide
from data_prep.spool import Spool, fill
from data_prep.virtual import make_virtual
from data_prep.workshop import Workshop

SKIPPED = "skipped.csv"


def make(source: Source, name: str, shop: Workshop) -> Manifest:
    """Raises BadInput, OSError."""
    if isinstance(source, WebdatasetSource):
        return adopt(source, name, shop)
    if isinstance(source, PreparedSource):
        return bring(source, name, shop)
    if isinstance(source, FractalSource) and source.virtual:
        return make_virtual(source, name, shop.folder)
    return pack_up(source, name, shop)


def pack_up(source: Source, name: str, shop: Workshop) -> Manifest:
    """Spool all images, then order and pack them."""
    spool = fill(source, shop.folder / "spool", shop.map, shop.progress)
    labels = resolve(spool.rows["label"], spool.labels, also=spool.lost)
    split_N, dedup = divide(source, spool, spool.rows["split"].astype(np.int8), labels, shop, spool.lost)
    if spool.listed:
        durable.write(shop.folder / SKIPPED, _table(spool.listed))
    storing = Packing(spool, labels, shop, int((split_N != LEFT_OUT).sum()))
    manifest = assemble(source, name, shop.folder, spool.rows, labels, split_N, storing)
    manifest.skipped, manifest.dedup = spool.skipped, dedup
    return manifest


class Packing:
    """Into new tars, from the spool, a task a shard."""

    def __init__(self, spool: Spool, labels: Labels, shop: Workshop, total: int) -> None:
        self.spool, self.labels, self.shop = spool, labels, shop
        self.done, self.total = 0, total

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        packed: list[Packed] = []
        for shard in self.shop.map(pack, jobs(split, self.spool, self.labels, order, self.shop.folder)):
            packed.append(shard)
            self.done += shard.shard.samples
            self.shop.progress("Packing", self.done, self.total)
        shard_N = np.repeat(np.arange(len(packed)), [len(p.offsets) for p in packed])
        offsets = [np.array(p.offsets, dtype=np.uint64) for p in packed]
        return [p.shard for p in packed], shard_N, np.concatenate([np.empty(0, np.uint64), *offsets])


def _table(skipped: Sequence[Skipped]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["origin", "reason"])
    writer.writerows([one.origin, one.reason] for one in skipped)
    return text.getvalue().encode()
