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
from data_prep.distinct import find_copies, thumbnails_of
from data_prep.executor import Executor, Progress
from data_prep.index import Index
from data_prep.labels import resolve
from data_prep.localise import Localise
from data_prep.manifest import SPLITS, SQUARE, Manifest
from data_prep.pack import Shard
from data_prep.part import label_of
from data_prep.sources import Stored, WebdatasetSource
from data_prep.splits import LEFT_OUT, check_classes, cut
from data_prep.webdataset import Keys, ShardIndex, index_shard, merged
from pipeline.errors import BadInput

CONTENT = "content hashes are of the images' bytes, and no image is converted"


def adopt(
    source: WebdatasetSource,
    name: str,
    work: Path,
    map: Executor,
    progress: Progress,
    against: dict[str, Path],
    localise: Localise,
) -> Manifest:
    """Raises BadInput, OSError."""
    folder = work / "archives"
    folder.mkdir(exist_ok=True)
    listed = source.shards()
    base = _base([place for _, place in listed])
    archives = Archives([place for _, place in listed], folder, localise)
    archives.index(source.keys(), map, progress, source.expected())
    labels = resolve(archives.rows["label"], archives.kinds)
    of_archive = np.array([SPLITS.index(split) for split, _ in listed], dtype=np.int8)
    split_N, dedup = of_archive[archives.rows["shard"]], {}
    if against:
        archives.make_thumbnails(map, progress)
        copies = find_copies(archives, split_N, work, against, map, progress, localise)
        split_N[copies.rows], dedup = LEFT_OUT, copies.report
    split_N = cut(source, split_N, archives.rows["content"], labels)
    check_classes(source, split_N, labels, set())
    names = [place.removeprefix(f"{base}/") for place in archives.places]
    manifest = assemble(source, name, work, archives.rows, labels, split_N, _InPlace(archives, names))
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

    def __init__(self, places: list[str], folder: Path, localise: Localise) -> None:
        self.places, self.folder, self.localise = places, folder, localise
        self.sha256: list[str] = []
        self.bytes: list[int] = []
        self.unconverted = 0

    def index(self, keys: Keys, map: Executor, progress: Progress, total: int | None) -> None:
        """Those that a killed run has indexed are not looked at again. Raises BadInput."""
        jobs = [(number, place) for number, place in enumerate(self.places)]
        parts, done = [], 0
        for path in map(partial(index_archive, self.folder, keys, self.localise), jobs):
            part, digest = _read(path)
            parts.append(part)
            self.sha256.append(digest)
            self.bytes.append(part.bytes)
            self.unconverted += part.unconverted
            done += len(part.rows)
            progress("Indexing", done, total)
        self.starts = np.cumsum([0, *(len(part.rows) for part in parts)])
        self.rows, self.kinds = merged(parts)

    @property
    def thumbnails(self) -> Path:
        return self.folder / "thumbnails.bin"

    def make_thumbnails(self, map: Executor, progress: Progress) -> None:
        """uint8 (N, 16, 16, 3), raw."""
        with self.thumbnails.open("wb") as file:
            for position, made in map(partial(thumbnails_of, self.localise), self._contents()):
                file.write(made.tobytes())
                progress("Decoding", int(position[-1]) + 1 if len(position) else 0, len(self.rows))

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
            with self.localise(self.places[number]) as path, path.open("rb") as file:
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
