"""Make: one data set, in a folder of its own: packed into shards, indexed in place, or virtual."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.adopt import adopt
from data_prep.assemble import assemble
from data_prep.bring import bring
from data_prep.distinct import find_copies
from data_prep.executor import Executor, Progress
from data_prep.labels import Labels, resolve
from data_prep.localise import Localise
from data_prep.manifest import Manifest
from data_prep.pack import Shard
from data_prep.part import Skipped
from data_prep.shards import Packed, jobs, pack
from data_prep.sources import FractalSource, PreparedSource, Source, WebdatasetSource
from data_prep.splits import LEFT_OUT, check_classes, cut
from data_prep.spool import Spool, fill
from data_prep.virtual import make_virtual

SKIPPED = "skipped.csv"


def make(
    source: Source,
    name: str,
    work: Path,
    map: Executor,
    progress: Progress,
    against: dict[str, Path],
    localise: Localise,
) -> Manifest:
    """``against``: folders of the data sets whose test images must not be in it. Raises BadInput, OSError."""
    if isinstance(source, WebdatasetSource):
        return adopt(source, name, work, map, progress, against, localise)
    if isinstance(source, PreparedSource):
        return bring(source, name, work, localise)
    if isinstance(source, FractalSource) and source.virtual:
        return make_virtual(source, name, work)
    return pack_up(source, name, work, map, progress, against, localise)


def pack_up(
    source: Source,
    name: str,
    work: Path,
    map: Executor,
    progress: Progress,
    against: dict[str, Path],
    localise: Localise,
) -> Manifest:
    """Spool all images, then order and pack them."""
    spool = fill(source, work / "spool", map, progress)
    labels = resolve(spool.rows["label"], spool.labels, also=spool.lost)
    split_N, dedup = spool.rows["split"].astype(np.int8), {}
    if against:
        copies = find_copies(spool, split_N, work, against, map, progress, localise)
        split_N[copies.rows], dedup = LEFT_OUT, copies.report
    split_N = cut(source, split_N, spool.rows["content"], labels)
    check_classes(source, split_N, labels, spool.lost)
    if spool.listed:
        durable.write(work / SKIPPED, _table(spool.listed))
    storing = Packing(spool, labels, work, map, progress, int((split_N != LEFT_OUT).sum()))
    manifest = assemble(source, name, work, spool.rows, labels, split_N, storing)
    manifest.skipped, manifest.dedup = spool.skipped, dedup
    return manifest


class Packing:
    """Into new tars, from the spool, a task a shard."""

    def __init__(self, spool: Spool, labels: Labels, work: Path, map: Executor, progress: Progress, total: int) -> None:
        self.spool, self.labels, self.work = spool, labels, work
        self.map, self.progress = map, progress
        self.done, self.total = 0, total

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        packed: list[Packed] = []
        for shard in self.map(pack, jobs(split, self.spool, self.labels, order, self.work)):
            packed.append(shard)
            self.done += shard.shard.samples
            self.progress("Packing", self.done, self.total)
        shard_N = np.repeat(np.arange(len(packed)), [len(p.offsets) for p in packed])
        offsets = [np.array(p.offsets, dtype=np.uint64) for p in packed]
        return [p.shard for p in packed], shard_N, np.concatenate([np.empty(0, np.uint64), *offsets])


def _table(skipped: Sequence[Skipped]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["origin", "reason"])
    writer.writerows([one.origin, one.reason] for one in skipped)
    return text.getvalue().encode()
