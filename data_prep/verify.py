"""Verify: every shard against its digest, every image against its index entry; names the first bad one."""

import hashlib
import zlib
from pathlib import Path

from data_prep.index import Index
from data_prep.manifest import SPLITS, Manifest, open_index, read_manifest
from data_prep.pack import END, Shard
from pipeline.errors import BadInput


def verify(folder: Path) -> int:
    """Images checked. Raises BadInput naming the first bad shard and key."""
    manifest = read_manifest(folder)
    for split in SPLITS:
        index = open_index(folder, split, manifest)
        _check_index(folder, manifest, split, index)
        first = 0
        for shard in manifest.shards[split]:
            _check_shard(folder / shard.name, shard, index, range(first, first + shard.samples))
            first += shard.samples
    return sum(manifest.counts.values())


def _check_index(folder: Path, manifest: Manifest, split: str, index: Index) -> None:
    packed = sum(shard.samples for shard in manifest.shards[split])
    if not len(index) == packed == manifest.counts[split] or index.digest() != manifest.content[split]:
        raise BadInput(
            f"{folder}: the index and dataset.json disagree on {split}: delete the folder and prepare again."
        )


def _check_shard(path: Path, shard: Shard, index: Index, rows: range) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"Shard {path} is missing or unreadable ({error.strerror}): delete its folder and prepare again."
        ) from error
    if len(data) == shard.bytes and hashlib.sha256(data).hexdigest() == shard.sha256:
        return
    for row in rows:
        start, length = int(index.offset[row]), int(index.size[row])
        image = data[start : start + length]
        if len(image) < length or zlib.crc32(image) != int(index.crc[row]):
            what = "cut off" if len(image) < length else "damaged"
            raise BadInput(
                f"Shard {path}, key {row:09d}: the image is {what}; delete the data set's folder and prepare again."
            )
    what = "has no end block" if not data.endswith(END) else "is damaged outside its images (headers or labels)"
    raise BadInput(f"Shard {path} {what}: delete the data set's folder and prepare again.")
