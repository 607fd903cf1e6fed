"""webdataset as its documentation has it: shuffled shards and a shuffle buffer, batched in the worker."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections.abc import Iterable
from typing import Any

from webdataset.compat import WebDataset, WebLoader
from webdataset.writer import ShardWriter

from benchmarks.peers.decode import DECODERS
from benchmarks.peers.work import Work

SHARDS = 8
"""Of one length, so that one or two workers have the same share."""


def prepare(work: Work, **_: str) -> None:
    folder = work.folder / "tars"
    if folder.exists():
        return
    folder.mkdir()
    samples = work.samples()
    pattern, length = str(folder / "%06d.tar"), -(-len(samples) // SHARDS)
    order = sorted(range(len(samples)), key=lambda k: k * 0.6180339887 % 1)  # classes mixed, for want of random access
    with ShardWriter(pattern, maxcount=length, verbose=0) as writer:
        for key in order:
            path, label = samples[key]
            writer.write({"__key__": f"{key:08d}", "jpg": path.read_bytes(), "cls": label})


def loader(work: Work, workers: int, decoder: str) -> Iterable[Any]:
    shards = sorted(map(str, (work.folder / "tars").glob("*.tar")))
    images = WebDataset(shards, shardshuffle=len(shards), seed=0).shuffle(1000)
    transform = work.transform()
    if decoder == "pillow":
        images = images.decode("pil").to_tuple("jpg", "cls").map_tuple(transform, int)
    else:
        images = images.to_tuple("jpg", "cls").map_tuple(lambda data: transform(DECODERS[decoder](data)), int)
    batched = images.batched(work.batch, partial=False)
    return WebLoader(batched, batch_size=None, num_workers=workers)
