"""Prepare: source -> shards, index, manifest; atomic and resumable.

Everything is made in a hidden folder beside the target and moved there by one rename. Images are first spooled to disk
(so memory holds only what the index will), then split, ordered and packed. A killed run continues from the parts it had
spooled and the shards it had finished, and the bytes are the same whoever makes them. Peak disk use is twice the data
set.
"""

import errno
import hashlib
import json
import shutil
from pathlib import Path

from data_prep import durable
from data_prep.chunk import BadSample
from data_prep.distinct import COPIES
from data_prep.executor import Executor, Progress, silent
from data_prep.index import index_files
from data_prep.localise import Localise, here
from data_prep.lock import alone, is_held
from data_prep.make import SKIPPED, make
from data_prep.manifest import SPLITS, Manifest, read_manifest
from data_prep.sources import Source
from data_prep.workshop import Workshop
from pipeline.errors import BadInput
from pipeline.subset import Dataset, OnBadSample

Prepared = tuple[Dataset, Path]
"""What a data set is, and its folder."""


def find(source: Source, name: str, root: Path, against: dict[str, Prepared] | None = None) -> Prepared | None:
    """The prepared data set and its folder, if it is complete. Reads dataset.json only.

    When the files it was made from are gone, or no longer named, the one data set that was prepared under this name
    with these fields stands for them; a path that was never prepared finds nothing. Raises BadInput for one from which
    images were left out, where that is not allowed. ``against``: the data sets that it must be distinct from.
    """
    folder = _folder(source, name, root, against)
    if (folder / "dataset.json").exists():
        return _found(source, read_manifest(folder), folder)
    if source.is_absent():
        made = [(file.parent, read_manifest(file.parent)) for file in root.glob(f"{name}-{'?' * 12}/dataset.json")]
        origins = {source.origin()} if source.location() else {manifest.origin for _, manifest in made}
        distinct = _ids(against)
        same = [
            (folder, manifest)
            for folder, manifest in made
            if manifest.source == source.describe()
            and manifest.origin in origins
            and manifest.dedup.get("against", {}) == distinct
        ]
        if len(same) == 1:
            return _found(source, same[0][1], same[0][0])
    return None


def _found(source: Source, manifest: Manifest, folder: Path) -> Prepared:
    if manifest.skipped and source.on_bad_sample is OnBadSample.fail:
        raise BadInput(
            f"What cannot be read was left out of {folder}: {manifest.skipped:,} of its images, listed in {SKIPPED}; "
            f"set data.{manifest.name}.on_bad_sample=skip_and_count, or mend them, delete the folder and prepare again."
        )
    return manifest.dataset(), folder


def prepare(
    source: Source,
    name: str,
    root: Path,
    map: Executor = map,
    progress: Progress = silent,
    against: dict[str, Prepared] | None = None,
    localise: Localise = here,
) -> Prepared:
    """Make it, or continue making it.

    ``map`` may run the encoding and packing elsewhere, given the same file system. ``against``: the data sets that
    ``source.distinct_from`` names, whose test images it must not hold. ``localise`` fetches archives that lie
    elsewhere. Raises BadInput, in one sentence, for a source that cannot be read and for a disk that is full or not
    writable. What was made so far stays for the next attempt where that can use it: after a full disk, or an image that
    cannot be read.
    """
    folder = _folder(source, name, root, against)
    work = folder.with_name(f".{folder.name}.partial")
    try:
        if found := find(source, name, root, against):
            return found
        assert set(against or {}) == set(source.distinct_from)
        root.mkdir(parents=True, exist_ok=True)
        with alone(_lock(work)):
            if found := find(source, name, root, against):
                return found
            work.mkdir(exist_ok=True)
            _drop_stale(source, name, work)
            for half in work.rglob(".*.tmp"):
                half.unlink(missing_ok=True)
            try:
                others = {other: folder for other, (_, folder) in (against or {}).items()}
                manifest = make(source, name, Workshop(work, map, progress, others, localise))
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


def _folder(source: Source, name: str, root: Path, against: dict[str, Prepared] | None) -> Path:
    fingerprint = source.fingerprint()
    if against:
        fingerprint = hashlib.sha256(json.dumps([fingerprint, _ids(against)], sort_keys=True).encode()).hexdigest()
    return root / f"{name}-{fingerprint[:12]}"


def _ids(against: dict[str, Prepared] | None) -> dict[str, str]:
    return {name: dataset.id for name, (dataset, _) in (against or {}).items()}


def _lock(work: Path) -> Path:
    return work.with_name(f"{work.name}.lock")


def _drop_stale(source: Source, name: str, work: Path) -> None:
    """Remove what was begun from the same source before its files changed; nothing will ever continue it."""
    note = "source.json"
    own = json.dumps({**source.describe(), "origin": source.origin()}, sort_keys=True).encode()
    durable.write(work / note, own)
    for other in work.parent.glob(f".{name}-{'?' * 12}.partial"):
        same = other != work and (other / note).is_file() and (other / note).read_bytes() == own
        if same and not is_held(_lock(other)):
            shutil.rmtree(other)


def _sweep(work: Path, manifest: Manifest) -> None:
    """Leave only what is published."""
    kept = {"dataset.json", SKIPPED, COPIES, *(s.name for listed in manifest.shards.values() for s in listed)}
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
    if error.errno == errno.ENOENT:
        return f"{where} is not there: it must stay while data are prepared, on a file system that all workers see."
    return (
        f"{where} cannot be read or written ({error.strerror or error}): mend the disk, and the same command continues."
    )
