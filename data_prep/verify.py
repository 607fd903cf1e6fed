"""Verify: every shard against its digest, every image against its index entry; names the first bad one."""

import hashlib
import io
import zlib
from pathlib import Path

from PIL import Image

from data_prep.manifest import SPLITS, read_index, read_manifest
from data_prep.pack import END
from pipeline.errors import BadInput


def verify(folder: Path) -> int:
    """Images checked. Raises BadInput naming the first bad shard and key."""
    manifest = read_manifest(folder)
    count = 0
    for split in SPLITS:
        index = read_index(folder, split)
        if len(index) != manifest.counts[split]:
            raise BadInput(f"{folder}: index.npz has {len(index)} {split} images, dataset.json says otherwise.")
        first = 0
        for number, shard in enumerate(manifest.shards[split]):
            rows = range(first, first + shard.samples)
            _shard(folder / shard.name, shard.sha256, shard.bytes, index, rows, number)
            first += shard.samples
            count += shard.samples
    return count


def _shard(path: Path, sha256: str, size: int, index, rows: range, number: int) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"Shard {path} is missing or unreadable ({error.strerror}): prepare the data again.") from error
    if len(data) == size and data.endswith(END) and hashlib.sha256(data).hexdigest() == sha256:
        return
    for row in rows:
        start, length = int(index.offset[row]), int(index.size[row])
        image = data[start : start + length]
        if int(index.shard[row]) != number or len(image) < length or zlib.crc32(image) != int(index.crc[row]):
            raise BadInput(f"Shard {path}, key {row:09d}: the image is damaged or cut off. Delete its folder and prepare again.")
        Image.open(io.BytesIO(image)).verify()
    raise BadInput(f"Shard {path} is damaged outside its images (headers, labels or end block): prepare the data again.")
