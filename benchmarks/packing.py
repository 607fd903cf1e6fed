"""CPU time and bytes of packing small JPEG files into shards, against webdataset's ShardWriter.

Both take the same images from memory and write 10,000 of them a shard; the ways take turns, and figures are medians.
Ours hashes every shard and syncs it to the disk as well.

    python -m benchmarks.packing CIFAR10_ARCHIVE_OR_FOLDER [--turns 3]
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from webdataset.writer import ShardWriter

from benchmarks.table import show
from data_prep.pack import Item, write_shard

SHARD = 10_000
Images = list[tuple[bytes, int]]


def shard_writer(images: Images, folder: Path) -> None:
    with ShardWriter(str(folder / "%05d.tar"), maxcount=SHARD, verbose=0) as writer:
        for k, (data, label) in enumerate(images):
            writer.write({"__key__": f"{k:09d}", "jpg": data, "cls": label})


def ours(images: Images, folder: Path) -> None:
    for start in range(0, len(images), SHARD):
        items = (Item(f"{k:09d}", "jpg", *images[k]) for k in range(start, min(start + SHARD, len(images))))
        write_shard(folder / f"{start // SHARD:05d}.tar", items)


WAYS: dict[str, Callable[[Images, Path], None]] = {"webdataset ShardWriter": shard_writer, "ours": ours}


def read(source: Path, folder: Path) -> Images:
    """Every JPEG file, its class the folder's."""
    if not source.is_dir():
        shutil.unpack_archive(source, folder, filter="data")
        source = folder
    files = sorted(source.rglob("*.jp*g"))
    classes = {name: k for k, name in enumerate(sorted({file.parent.name for file in files}))}
    return [(file.read_bytes(), classes[file.parent.name]) for file in files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        images = read(arguments.source, Path(name))
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    size: dict[str, int] = {}
    for _ in range(arguments.turns):
        for way, pack in WAYS.items():
            with tempfile.TemporaryDirectory() as name:
                began = time.process_time()
                pack(images, Path(name))
                cpu[way].append(time.process_time() - began)
                size[way] = sum(file.stat().st_size for file in Path(name).iterdir())
    peer = next(iter(WAYS))
    rows = [
        [
            way,
            f"{median(cpu[way]):.2f}",
            f"{len(images) / median(cpu[way]):,.0f}",
            f"**{median(cpu[peer]) / median(cpu[way]):.1f}**" if way != peer else "1",
            f"{size[way] / 1e6:.0f}",
            f"**{size[way] / size[peer]:.0%}**",
        ]
        for way in WAYS
    ]
    stored = sum(len(data) for data, _ in images)
    show([f"{len(images):,} images, {stored / 1e6:.0f} MB", "CPU s", "images/s", "times less", "MB", "bytes"], rows)


if __name__ == "__main__":
    main()
