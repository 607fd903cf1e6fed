"""Distinct: which images of an upstream source are copies of test images of other data sets, so that they are left out.

What counts as a copy, ``dedup`` says; here are the thumbnails of both sides, made and compared in tasks, and the list.
"""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from data_prep import durable
from data_prep.contents import Contents, contents
from data_prep.dedup import PROPOSED, SIDE, SIMILAR, Duplicate, duplicates, thumbnail
from data_prep.localise import Localise
from data_prep.manifest import SPLITS, open_index, read_manifest
from data_prep.workshop import Workshop
from pipeline.errors import BadInput

COPIES = "duplicates.csv"
BLOCK = 2**14
"""Upstream images that one task compares."""
TEST = SPLITS.index("test")


@dataclass(frozen=True)
class Copies:
    rows: np.ndarray
    """Of the spool: upstream images to be left out, int64."""
    report: dict[str, Any]
    """For the manifest: against what, by which thresholds, how many."""


class Upstream(Protocol):
    folder: Path
    """For what is thrown away in the end."""
    rows: np.ndarray
    """Structured (N,), with the ``content`` of every image."""

    @property
    def thumbnails(self) -> Path:
        """uint8 (N, S, S, 3), raw."""
        ...

    def origins(self, rows: np.ndarray) -> list[str]:
        """Where a person finds these images."""
        ...


def find_copies(upstream: Upstream, split_N: np.ndarray, shop: Workshop) -> Copies:
    """Compare all but the source's own test images with the test images of the data sets that the workshop names, and
    write the list of copies there. Raises BadInput for a data set without test images.
    """
    count = len(split_N)
    found: list[tuple[str, Duplicate]] = []
    for number, (name, folder) in enumerate(shop.against.items()):
        tests = upstream.folder / f"{name}.npy"
        with durable.opened(tests, sync=False) as file:
            np.save(file, _test_thumbnails(name, folder, shop), allow_pickle=False)
        starts = range(0, count, BLOCK)
        for start, pairs in zip(starts, shop.map(partial(compare, upstream.thumbnails, tests), starts), strict=True):
            found += [(name, pair) for pair in pairs if split_N[pair.upstream] != TEST]
            shop.progress("Comparing", number * count + min(start + BLOCK, count), len(shop.against) * count)
    durable.write(shop.folder / COPIES, _table(found, upstream))
    rows = np.unique(np.array([pair.upstream for _, pair in found], dtype=np.int64))
    ids = {name: read_manifest(folder).dataset_id() for name, folder in shop.against.items()}
    return Copies(rows, {"against": ids, "similar": SIMILAR, "proposed": PROPOSED, "removed": len(rows)})


def compare(upstream: Path, tests: Path, start: int) -> list[Duplicate]:
    """One task: the copies in a block of upstream thumbnails."""
    thumbnails = np.memmap(upstream, np.uint8, "r").reshape(-1, SIDE, SIDE, 3)
    found = duplicates(thumbnails[start : start + BLOCK], np.load(tests, allow_pickle=False))
    return [pair._replace(upstream=start + pair.upstream) for pair in found]


def _test_thumbnails(name: str, folder: Path, shop: Workshop) -> np.ndarray:
    """uint8 (M, S, S, 3), in stored order."""
    manifest = read_manifest(folder)
    index = open_index(folder, "test", manifest)
    if not len(index) or not manifest.shards["test"]:
        raise BadInput(
            f"distinct_from names {name!r}, which has no stored test images to be distinct from: leave it out, or "
            f"prepare it with data.{name}.test_share."
        )
    thumbnails = np.empty((len(index), SIDE, SIDE, 3), dtype=np.uint8)
    for position, some in shop.map(partial(thumbnails_of, shop.localise), contents(folder, manifest, "test", index)):
        thumbnails[position] = some
    return thumbnails


def thumbnails_of(localise: Localise, shard: Contents) -> tuple[np.ndarray, np.ndarray]:
    """One task: position in stored order and thumbnail of every image of a shard."""
    made = np.empty((len(shard.index), SIDE, SIDE, 3), dtype=np.uint8)
    try:
        with localise(shard.where) as path, path.open("rb") as file:
            for k, row in enumerate(shard.index.rows):
                data = os.pread(file.fileno(), int(row["size"]), int(row["offset"]))
                with Image.open(io.BytesIO(data)) as image:
                    made[k] = thumbnail(image)
    except BadInput:
        raise
    except Exception as error:  # the system's, and those of each of Pillow's decoders
        raise BadInput(
            f"Shard {shard.where} is missing or damaged: delete its folder and run `crossover prepare` again."
        ) from error
    return shard.position, made


def _table(found: Iterable[tuple[str, Duplicate]], upstream: Upstream) -> bytes:
    """As CSV. A test image is named by its position in stored order, which is its key in the shard."""
    listed = list(found)
    origins = upstream.origins(np.array([pair.upstream for _, pair in listed], dtype=np.int64))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["upstream", "data set", "test key", "similarity", "mirrored"])
    for origin, (name, pair) in zip(origins, listed, strict=True):
        writer.writerow([origin, name, f"{pair.test:09d}", f"{pair.similarity:.4f}", pair.mirrored])
    return text.getvalue().encode()
