"""A prepared data set of pictures that vary in size, and ones with several labels: written by hand, field by field."""

import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.index import ROW, Index, LabelSets, save_index
from data_prep.manifest import SPLITS, Manifest
from data_prep.pack import Item, write_shard

SIDE = 24


def picture(number: int) -> Image.Image:
    """Smooth, so that resizers nearly agree; between 20 and 60 pixels a side."""
    draw = np.random.default_rng(number)
    wide, high = draw.integers(20, 60, 2)
    coarse = Image.fromarray(draw.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    return coarse.resize((int(wide), int(high)), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": 95} if form == "JPEG" else {}))
    return buffer.getvalue()


def write(folder: Path, count: int = 40, sets: LabelSets | None = None, form: str = "JPEG") -> list[Image.Image]:
    """``count`` training pictures of 3 classes in two shards. Returns them as they were before encoding."""
    folder.mkdir(parents=True)
    images = [picture(number) for number in range(count)]
    rows = np.zeros(count, ROW)
    shards, half = [], count // 2
    for number, part in enumerate((range(half), range(half, count))):
        items = [Item(f"{k:09d}", form.lower()[:3], encoded(images[k], form), k % 3) for k in part]
        shard, places = write_shard(folder / f"train-{number:05d}.tar", items)
        shards.append(shard)
        for k, item, (offset, size) in zip(part, items, places, strict=True):
            content = int.from_bytes(hashlib.sha256(item.data).digest()[:8], "little")
            rows[k] = (offset, content, number, size, k % 3, zlib.crc32(item.data), *images[k].size)
    indices = {"train": Index(rows, sets), "val": Index(rows[:0]), "test": Index(rows[:0])}
    Manifest(
        name="pictures",
        classes=["a", "b", "c"],
        image_size=SIDE,
        channels=3,
        counts={split: len(indices[split]) for split in SPLITS},
        content={split: indices[split].digest() for split in SPLITS},
        order={},
        duplicates={},
        source={},
        origin="",
        rules={},
        shards={"train": shards, "val": [], "test": []},
        index={split: save_index(folder, split, indices[split]) for split in SPLITS},
        stored="original",
        multilabel=sets is not None,
    ).save(folder)
    return images
