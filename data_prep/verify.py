"""Verify: every shard against its digest, every image against its index entry, by decoding it; names the first bad one.

One task a shard; what is said where several are bad does not depend on who finds which first.
"""

import io
import os
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep import virtual
from data_prep.contents import Contents, contents, key_at
from data_prep.digest import sha256
from data_prep.executor import Executor, Progress, silent
from data_prep.index import Index
from data_prep.jpeg import plain_pixels
from data_prep.localise import Localise, here
from data_prep.manifest import SPLITS, Manifest, open_index, read_manifest
from data_prep.pack import BLOCK, END, Item, archive
from pipeline.errors import BadInput

AGAIN = "delete the data set's folder and prepare again"


def verify(folder: Path, map: Executor = map, progress: Progress = silent, localise: Localise = here) -> int:
    """Images checked. Raises BadInput naming the first bad shard and key."""
    manifest = read_manifest(folder)
    total, done = sum(manifest.counts.values()), 0
    for split in SPLITS:
        index = open_index(folder, split, manifest)
        _check_index(folder, manifest, split, index)
        if manifest.virtual:
            for what in virtual.trouble(manifest.virtual, index):
                raise BadInput(f"{folder}, {split}, {what}: {AGAIN}.")
            done += len(index)
            progress("Verifying", done, total)
        for count, trouble in map(partial(check_shard, localise), contents(folder, manifest, split, index)):
            if trouble:
                raise BadInput(trouble)
            done += count
            progress("Verifying", done, total)
    return total


def _check_index(folder: Path, manifest: Manifest, split: str, index: Index) -> None:
    shards = manifest.shards[split]
    same = len(index) == manifest.counts[split] and index.digest() == manifest.content[split]
    if shards and same:
        same = np.bincount(index.shard, minlength=len(shards)).tolist() == [shard.samples for shard in shards]
    if not same:
        raise BadInput(
            f"{folder}: the index and dataset.json disagree on {split}: delete the folder and prepare again."
        )


def check_shard(localise: Localise, job: Contents) -> tuple[int, str]:
    """One task: images checked and, if there is one, the sentence about the first that is bad."""
    try:
        with localise(job.where) as path, path.open("rb") as file:
            whole = sha256(path) == job.shard.sha256
            for k in range(len(job.index)):
                if trouble := _trouble(file.fileno(), job, k, whole):
                    return k, f"Shard {job.where}, key {_key(file.fileno(), job, k)}: the image {trouble}; {AGAIN}."
            ended = os.pread(file.fileno(), len(END), job.shard.bytes - len(END)) == END
    except OSError as error:
        return 0, f"Shard {job.where} is missing or unreadable ({error.strerror}): {AGAIN}."
    if whole:
        return len(job.index), ""
    return 0, f"Shard {job.where} {'is not the one that was indexed' if ended else 'has no end block'}: {AGAIN}."


def _trouble(file: int, job: Contents, k: int, whole: bool) -> str:
    """What is wrong with one image, or with its header or label."""
    row = job.index.rows[k]
    offset, size = int(row["offset"]), int(row["size"])
    data = os.pread(file, size, offset)
    if len(data) < size or zlib.crc32(data) != int(row["crc"]):
        return "is cut off" if len(data) < size else "is damaged"
    try:
        width, height = _decoded(data)
    except Exception as error:  # each of Pillow's decoders raises its own kinds
        return f"cannot be decoded ({str(error).rstrip('.') or type(error).__name__})"
    if (width, height) != (int(row["width"]), int(row["height"])) or job.side not in (None, width):
        return f"has {width} x {height} pixels, not those of the index"
    if job.ours and not whole and not _is_packed(file, job, k, data):
        return "has a damaged header or label"
    return ""


def _decoded(data: bytes) -> tuple[int, int]:
    """Width and height. Raises what Pillow raises."""
    if (plain := plain_pixels(data, lambda width, height: True)) is not None:
        return plain.size
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


def _is_packed(file: int, job: Contents, k: int, data: bytes) -> bool:
    """Whether image and label lie there as they are packed."""
    label = int(job.index.label[k]) if job.index.sets is None else job.index.sets.of(k).tolist()
    item = Item(_key(file, job, k), "jpg" if data.startswith(b"\xff\xd8") else "png", data, label)
    packed = archive([item.image, item.target])[0][: -len(END)]
    return os.pread(file, len(packed), int(job.index.offset[k]) - BLOCK) == packed


def _key(file: int, job: Contents, k: int) -> str:
    """As the tar has it, where it came from elsewhere."""
    if job.ours:
        return f"{job.position[k]:09d}"
    return key_at(file, int(job.index.offset[k]))
