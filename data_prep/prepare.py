"""Prepare: source -> shards, index, manifest; atomic and resumable.

Everything is made in a hidden folder beside the target and moved there by one rename. Images are first spooled to disk
(so memory holds only what the index will), then split, ordered and packed. A killed run continues from the parts it had
spooled and the shards it had finished, and the bytes are the same whoever makes them. Peak disk use is twice the data
set.
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.chunk import BadSample
from data_prep.executor import Executor, Progress, silent
from data_prep.index import ROW, Index, index_files, save_index
from data_prep.labels import Labels, resolve
from data_prep.manifest import SPLITS, Manifest, read_manifest
from data_prep.order import permutation
from data_prep.part import Skipped
from data_prep.shards import Packed, jobs, pack
from data_prep.sources import Source, Stored
from data_prep.splits import check_classes, cut
from data_prep.spool import Spool, fill
from pipeline.errors import BadInput
from pipeline.subset import Dataset, OnBadSample

SKIPPED = "skipped.csv"
RULES = {
    "split": "before ordering: of each class the images with the smallest content hash, copies together",
    "label": "of an image with several labels, the rarest stands for it where classes are counted",
}
CONVERSION = {
    Stored.square: "RGB; up to a quarter smaller: zero-padded; else short side resized, centre cut; kept if it fits",
    Stored.original: "upright 8-bit RGB or grey JPEG and PNG kept; else RGB, as JPEG q95 4:4:4 if lossy, or PNG",
    Stored.short_side: "RGB, short side resized where larger, JPEG 4:2:0; JPEG that is small enough is kept",
}


def find(source: Source, name: str, root: Path) -> tuple[Dataset, Path] | None:
    """The prepared data set and its folder, if it is complete. Reads dataset.json only.

    When the files it was made from are gone, or no longer named, the one data set that was prepared under this name
    with these fields stands for them; a path that was never prepared finds nothing. Raises BadInput for one from which
    images were left out, where that is not allowed.
    """
    folder = _folder(source, name, root)
    if (folder / "dataset.json").exists():
        return _found(source, read_manifest(folder), folder)
    if source.is_absent():
        made = [(file.parent, read_manifest(file.parent)) for file in root.glob(f"{name}-{'?' * 12}/dataset.json")]
        origins = {_origin(source)} if source.location() else {manifest.origin for _, manifest in made}
        same = [(f, m) for f, m in made if m.source == source.describe() and m.origin in origins]
        if len(same) == 1:
            return _found(source, same[0][1], same[0][0])
    return None


def _found(source: Source, manifest: Manifest, folder: Path) -> tuple[Dataset, Path]:
    if manifest.skipped and source.on_bad_sample is OnBadSample.fail:
        raise BadInput(
            f"{manifest.skipped:,} images that cannot be read were left out of {folder} ({SKIPPED} lists them): set "
            f"data.{manifest.name}.on_bad_sample=skip_and_count, or mend them, delete the folder and prepare again."
        )
    return manifest.dataset(), folder


def _origin(source: Source) -> str:
    return hashlib.sha256(source.location().encode()).hexdigest()


def prepare(
    source: Source, name: str, root: Path, map: Executor = map, progress: Progress = silent
) -> tuple[Dataset, Path]:
    """Make it, or continue making it.

    ``map`` may run the encoding and packing elsewhere, given the same file system. Raises BadInput, in one sentence,
    for a source that cannot be read and for a disk that is full or not writable. What was made so far stays for the
    next attempt where that can use it: after a full disk, or an image that cannot be read.
    """
    folder = _folder(source, name, root)
    work = folder.with_name(f".{folder.name}.partial")
    try:
        if found := find(source, name, root):
            return found
        root.mkdir(parents=True, exist_ok=True)
        with _alone(work):
            if found := find(source, name, root):
                return found
            work.mkdir(exist_ok=True)
            _drop_stale(source, name, work)
            for half in work.rglob(".*.tmp"):
                half.unlink(missing_ok=True)
            try:
                manifest = _make(source, name, work, map, progress)
            except BadSample:
                if not any(work.rglob("*.part")):
                    shutil.rmtree(work)
                raise
            except BadInput:
                shutil.rmtree(work)  # what a bad source gave is of no use to the mended one
                raise
            manifest.save(work)
            _sweep(work, manifest)
            durable.rename_folder(work, folder)
    except OSError as error:
        raise BadInput(_os_sentence(error, root)) from error
    return manifest.dataset(), folder


def _folder(source: Source, name: str, root: Path) -> Path:
    return root / f"{name}-{source.fingerprint()[:12]}"


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Only one process prepares a data set; the others wait and find it done. The lock dies with its holder."""
    path = _lock_path(work)
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_file(lock.fileno(), path):
                continue  # its holder removed it while we waited: another process may hold a new one
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _lock_path(work: Path) -> Path:
    return work.with_name(f"{work.name}.lock")


def _held(path: Path) -> bool:
    """Whether another process holds this lock."""
    try:
        with path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    path.unlink(missing_ok=True)
    return False


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _drop_stale(source: Source, name: str, work: Path) -> None:
    """Remove what was begun from the same source before its files changed; nothing will ever continue it."""
    note = "source.json"
    own = json.dumps({**source.describe(), "origin": _origin(source)}, sort_keys=True).encode()
    durable.write(work / note, own)
    for other in work.parent.glob(f".{name}-{'?' * 12}.partial"):
        same = other != work and (other / note).is_file() and (other / note).read_bytes() == own
        if same and not _held(_lock_path(other)):
            shutil.rmtree(other)


def _make(source: Source, name: str, work: Path, map: Executor, progress: Progress) -> Manifest:
    spool = fill(source, work / "spool", map, progress)
    labels = resolve(spool.rows["label"], spool.labels, also=spool.lost)
    split_N = cut(source, spool.rows["split"], spool.rows["content"], labels)
    check_classes(source, split_N, labels, spool.lost)
    if spool.listed:
        durable.write(work / SKIPPED, _table(spool.listed))
    total, done = int((split_N >= 0).sum()), 0
    indices: dict[str, Index] = {}
    packed: dict[str, list[Packed]] = {part: [] for part in SPLITS}
    for code, part in enumerate(SPLITS):
        members = np.flatnonzero(split_N == code)
        content_N = spool.rows["content"][members]
        order = members[permutation(labels.label[members], content_N, source.order, source.order_seed)]
        for shard in map(pack, jobs(part, spool, labels, order, work)):
            packed[part].append(shard)
            done += shard.shard.samples
            progress("Packing", done, total)
        indices[part] = _index(spool, labels, order, packed[part])
    return Manifest(
        name=name,
        classes=labels.classes,
        image_size=source.image_size,
        channels=3,
        counts={part: len(index) for part, index in indices.items()},
        content={part: index.digest() for part, index in indices.items()},
        order={"rule": source.order.value, "seed": source.order_seed},
        duplicates=_duplicates(indices),
        source=source.describe(),
        origin=_origin(source),
        rules={**RULES, "conversion": CONVERSION[source.stored]},
        shards={part: [p.shard for p in listed] for part, listed in packed.items()},
        index={part: save_index(work, part, index) for part, index in indices.items()},
        stored=source.stored.value,
        multilabel=labels.sets is not None,
        skipped=spool.skipped,
        tools=_tools(),
    )


def _index(spool: Spool, labels: Labels, order: np.ndarray, packed: list[Packed]) -> Index:
    index = np.zeros(len(order), dtype=ROW)
    index["shard"] = np.repeat(np.arange(len(packed)), [len(p.offsets) for p in packed])
    index["offset"] = np.concatenate([np.array(p.offsets, dtype=np.uint64) for p in packed] or [np.array([])])
    index["label"] = labels.label[order]
    for name in ("size", "crc", "content", "width", "height"):
        index[name] = spool.rows[name][order]
    return Index(index, labels.sets and labels.sets.take(order))


def _duplicates(indices: dict[str, Index]) -> dict[str, int]:
    train = indices["train"].content
    return {
        "within train": len(train) - len(np.unique(train)),
        "train in val": int(np.isin(train, indices["val"].content).sum()),
        "train in test": int(np.isin(train, indices["test"].content).sum()),
    }


def _tools() -> dict[str, str]:
    import PIL

    return {"numpy": np.__version__, "pillow": PIL.__version__}


def _table(skipped: list[Skipped]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["origin", "reason"])
    writer.writerows([one.origin, one.reason] for one in skipped)
    return text.getvalue().encode()


def _sweep(work: Path, manifest: Manifest) -> None:
    """Leave only what is published."""
    kept = {"dataset.json", SKIPPED, *(s.name for listed in manifest.shards.values() for s in listed)}
    kept |= {file.name for split in SPLITS for file in index_files(work, split)}
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()


def _os_sentence(error: OSError, root: Path) -> str:
    where = error.filename or root
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(root).free / 2**20 if root.exists() else 0
        return f"No space is left in {root} ({free:.0f} MiB free): free some, and the same command continues."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} cannot be used ({error.strerror}): mend its rights or set placement.data."
    if error.errno == errno.ENOTEMPTY:
        return f"{error.filename2 or root} is in the way (it has no dataset.json): delete it and run again."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{where} is a file where a folder is needed: set placement.data to another folder."
    return (
        f"{where} cannot be read or written ({error.strerror or error}): mend the disk, and the same command continues."
    )
