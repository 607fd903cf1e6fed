"""Prepare: source -> shards, index, manifest; atomic and resumable.

Everything is made in a hidden folder beside the target and moved there by one rename. Images are first spooled to disk
as they are read (so memory holds only an index), then split, ordered and packed. A killed run continues from the images
it had spooled and the shards it had finished, and the bytes are the same whoever packs them. Peak disk use is twice the
data set.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import durable
from data_prep.index import ROW, Index, index_files, save_index
from data_prep.manifest import SPLITS, Manifest, read_manifest
from data_prep.order import held_out, permutation
from data_prep.shards import Packed, jobs, pack
from data_prep.sources import Source
from data_prep.spool import Spool, fill
from pipeline.errors import BadInput
from pipeline.subset import Dataset

RULES = {
    "split": "before ordering: of each class the images with the smallest content hash, copies together",
    "conversion": "RGB; up to a quarter smaller: zero-padded; else short side resized, centre cut; kept if it fits",
}


def find(source: Source, name: str, root: Path) -> tuple[Dataset, Path] | None:
    """The prepared data set and its folder, if it is complete. Reads dataset.json only.

    When the files it was made from are gone, or no longer named, the one data set that was prepared under this name
    with these fields stands for them; a path that was never prepared finds nothing.
    """
    folder = _folder(source, name, root)
    if (folder / "dataset.json").exists():
        return read_manifest(folder).dataset(), folder
    if source.is_absent():
        made = [(file.parent, read_manifest(file.parent)) for file in root.glob(f"{name}-{'?' * 12}/dataset.json")]
        origins = {_origin(source)} if source.location() else {manifest.origin for _, manifest in made}
        same = [(f, m) for f, m in made if m.source == source.describe() and m.origin in origins]
        if len(same) == 1:
            return same[0][1].dataset(), same[0][0]
    return None


def _origin(source: Source) -> str:
    return hashlib.sha256(source.location().encode()).hexdigest()


def prepare(
    source: Source,
    name: str,
    root: Path,
    map: Callable[..., Any] = map,
    progress: Callable[[int], None] | None = None,
) -> tuple[Dataset, Path]:
    """Make it, or continue making it.

    ``map(function, jobs)`` may run the encoding and packing elsewhere, given the same file system: a pool's ``map`` or
    a cluster's. ``progress`` is told how many images have been read. Raises BadInput, in one sentence, for a source
    that cannot be read and for a disk that is full or not writable; what was made so far stays for the next attempt.
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
            try:
                spool = fill(source, work, map, progress or (lambda count: None))
                manifest = _pack(source, name, spool, work, map)
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
    path = work.with_name(f"{work.name}.lock")
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


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _pack(source: Source, name: str, spool: Spool, work: Path, map: Callable[..., Any]) -> Manifest:
    split = _splits(source, spool)
    _check_classes(spool, split, source)
    indices: dict[str, Index] = {}
    packed: dict[str, list[Packed]] = {}
    for code, part in enumerate(SPLITS):
        members = np.flatnonzero(split == code)
        rows = spool.rows[members]
        order = permutation(rows["label"], rows["content"], source.order, source.order_seed)
        packed[part] = list(map(partial(pack, spool.path), jobs(part, rows[order], work)))
        indices[part] = _index(rows[order], packed[part])
    return Manifest(
        name=name,
        classes=spool.classes,
        image_size=source.image_size,
        channels=3,
        counts={part: len(index) for part, index in indices.items()},
        content={part: index.digest() for part, index in indices.items()},
        order={"rule": source.order.value, "seed": source.order_seed},
        duplicates=_duplicates(indices),
        source=source.describe(),
        origin=_origin(source),
        rules=RULES,
        shards={part: [p.shard for p in listed] for part, listed in packed.items()},
        index={part: save_index(work, part, index) for part, index in indices.items()},
        stored=source.stored.value,
        tools=_tools(),
    )


def _splits(source: Source, spool: Spool) -> np.ndarray:
    """The source's own splits; those it lacks are cut from training."""
    split = spool.rows["split"].astype(np.int8)
    lacking = [
        (code, share)
        for code, share in ((SPLITS.index("test"), source.test_share), (SPLITS.index("val"), source.val_share))
        if share and not (split == code).any()
    ]
    train = np.flatnonzero(split == 0)
    rows = spool.rows[train]
    side = held_out(rows["content"], rows["label"], tuple(share for _, share in lacking))
    split[train] = np.array([0, *(code for code, _ in lacking)], dtype=np.int8)[side]
    return split


def _check_classes(spool: Spool, split: np.ndarray, source: Source) -> None:
    """Every class must have something to train on."""
    trained = np.bincount(spool.rows["label"][split == 0], minlength=len(spool.classes))
    if not trained.any():
        raise BadInput("The source has no training image: name its folder train/, or lower val_share and test_share.")
    if not trained.all():
        name = spool.classes[int(np.argmin(trained))]
        raise BadInput(
            f"Class {name!r} has no training image: add some, remove the class, or lower val_share and test_share."
        )
    source.check(spool.classes)


def _index(rows: np.ndarray, packed: list[Packed]) -> Index:
    index = np.zeros(len(rows), dtype=ROW)
    index["shard"] = np.repeat(np.arange(len(packed)), [len(p.offsets) for p in packed])
    index["offset"] = np.concatenate([np.array(p.offsets, dtype=np.uint64) for p in packed] or [np.array([])])
    for name in ("size", "label", "crc", "content", "width", "height"):
        index[name] = rows[name]
    return Index(index)


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


def _sweep(work: Path, manifest: Manifest) -> None:
    """Leave only what is published."""
    kept = {"dataset.json", *(s.name for listed in manifest.shards.values() for s in listed)}
    kept |= {file.name for split in SPLITS for file in index_files(work, split)}
    for file in work.iterdir():
        if file.name not in kept:
            file.unlink()


def _os_sentence(error: OSError, root: Path) -> str:
    where = error.filename or root
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
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
