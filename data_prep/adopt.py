"""Adopt: archives made elsewhere become a data set where they lie: indexed, a task an archive, and never copied."""

import io
import json
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.assemble import assemble
from data_prep.chunk import BadSample
from data_prep.contents import Contents, key_at
from data_prep.digest import sha256
from data_prep.distinct import thumbnails_of
from data_prep.index import Index
from data_prep.labels import resolve
from data_prep.localise import Localise
from data_prep.manifest import SPLITS, SQUARE, Manifest
from data_prep.pack import Shard
from data_prep.part import label_of
from data_prep.sources import Stored, WebdatasetSource
from data_prep.splits import divide
from data_prep.webdataset import Keys, ShardIndex, index_shard, merged
from data_prep.workshop import Workshop
from pipeline.errors import BadInput

CONTENT = "content hashes are of the images' bytes, and no image is converted"


def adopt(source: WebdatasetSource, name: str, shop: Workshop) -> Manifest:
    """Raises BadInput, OSError."""
    listed = source.shards()
    base = _base([place for _, place in listed])
    archives = Archives([place for _, place in listed], shop)
    archives.index(source.keys(), source.expected())
    labels = resolve(archives.rows["label"], archives.kinds)
    of_archive = np.array([SPLITS.index(split) for split, _ in listed], dtype=np.int8)
    if shop.against:
        archives.make_thumbnails()
    split_N, dedup = divide(source, archives, of_archive[archives.rows["shard"]], labels, shop)
    names = [place.removeprefix(f"{base}/") for place in archives.places]
    manifest = assemble(source, name, shop.folder, archives.rows, labels, split_N, _InPlace(archives, names))
    squares = (archives.rows["width"] == source.image_size) & (archives.rows["height"] == source.image_size)
    manifest.stored = SQUARE if squares.all() else Stored.original.value
    manifest.base, manifest.dedup = base, dedup
    manifest.rules["conversion"] = f"{CONTENT}: {archives.unconverted:,} are shown turned, have alpha, CMYK or 16 bits"
    return manifest


def _base(places: list[str]) -> str:
    """The folder or URL that all lie below. Raises BadInput when there is none."""
    levels = zip(*(place.split("/")[:-1] for place in places), strict=False)
    common = "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))
    if not common or common.endswith(":/"):
        raise BadInput(
            f"{places[0]} and {places[-1]} do not lie in one place: keep all archives of a data set together."
        )
    return common


class Archives:
    """What was found in them; ``rows`` (N,) of data_prep.index.ROW, archive by archive."""

    def __init__(self, places: list[str], shop: Workshop) -> None:
        self.places, self.shop, self.folder = places, shop, shop.folder / "archives"
        self.folder.mkdir(exist_ok=True)
        self.sha256: list[str] = []
        self.bytes: list[int] = []
        self.unconverted = 0

    def index(self, keys: Keys, total: int | None) -> None:
        """Those that a killed run has indexed are not looked at again. Raises BadInput."""
        jobs = [(number, place) for number, place in enumerate(self.places)]
        parts, done = [], 0
        for path in self.shop.map(partial(index_archive, self.folder, keys, self.shop.localise), jobs):
            part, digest = _read(path)
            parts.append(part)
            self.sha256.append(digest)
            self.bytes.append(part.bytes)
            self.unconverted += part.unconverted
            done += len(part.rows)
            self.shop.progress("Indexing", done, total)
        self.starts = np.cumsum([0, *(len(part.rows) for part in parts)])
        self.rows, self.kinds = merged(parts)

    @property
    def thumbnails(self) -> Path:
        return self.folder / "thumbnails.bin"

    def make_thumbnails(self) -> None:
        """uint8 (N, 16, 16, 3), raw."""
        with self.thumbnails.open("wb") as file:
            for position, made in self.shop.map(partial(thumbnails_of, self.shop.localise), self._contents()):
                file.write(made.tobytes())
                self.shop.progress("Decoding", int(position[-1]) + 1 if len(position) else 0, len(self.rows))

    def _contents(self) -> list[Contents]:
        return [
            Contents(Shard(place, stop - start, size, digest), place, np.arange(start, stop), Index(rows), None, False)
            for place, size, digest, (start, stop) in zip(
                self.places, self.bytes, self.sha256, pairwise(self.starts.tolist()), strict=True
            )
            for rows in [self.rows[start:stop]]
        ]

    def origins(self, rows: np.ndarray) -> list[str]:
        """Archive and key."""
        found = {}
        for number in np.unique(self.rows["shard"][rows]).tolist():
            with self.shop.localise(self.places[number]) as path, path.open("rb") as file:
                for row in rows[self.rows["shard"][rows] == number].tolist():
                    found[row] = f"{self.places[number]}: {key_at(file.fileno(), int(self.rows['offset'][row]))}"
        return [found[row] for row in rows.tolist()]


def index_archive(folder: Path, keys: Keys, localise: Localise, job: tuple[int, str]) -> Path:
    """One task: index an archive, or find that a killed run has. Raises BadInput, OSError."""
    number, place = job
    made = folder / f"{number:06d}.part"
    if not made.exists():
        with localise(place) as path:
            try:
                index = index_shard(path, keys, place)
            except BadInput as error:
                raise BadSample(str(error)) from error  # what was found in the others stays
            digest = sha256(path)
        note = {"labels": index.labels, "bytes": index.bytes, "unconverted": index.unconverted, "sha256": digest}
        buffer = io.BytesIO()
        np.savez(buffer, rows=index.rows, note=np.frombuffer(json.dumps(note).encode(), np.uint8))
        durable.write(made, buffer.getvalue())
    return made


def _read(path: Path) -> tuple[ShardIndex, str]:
    with np.load(path, allow_pickle=False) as stored:
        rows, note = stored["rows"], json.loads(stored["note"].tobytes())
    labels = [label_of(plain) for plain in note["labels"]]
    return ShardIndex(rows, labels, note["bytes"], note["unconverted"]), note["sha256"]


@dataclass
class _InPlace:
    """Each split lists the archives that it has images of, and counts its own in them."""

    archives: Archives
    names: list[str]

    def store(self, split: str, order: np.ndarray) -> tuple[list[Shard], np.ndarray, np.ndarray]:
        found, shard_N, counts = np.unique(self.archives.rows["shard"][order], return_inverse=True, return_counts=True)
        shards = [
            Shard(self.names[number], int(count), self.archives.bytes[number], self.archives.sha256[number])
            for number, count in zip(found.tolist(), counts, strict=True)
        ]
        return shards, shard_N, self.archives.rows["offset"][order]
