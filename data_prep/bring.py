"""Bring: manifest and index of a data set prepared elsewhere come here; its shards stay, and are read there."""

import shutil
from pathlib import Path

from data_prep.index import index_path, sets_path
from data_prep.localise import Localise
from data_prep.manifest import SPLITS, Manifest, open_index, read_manifest
from data_prep.sources import PreparedSource
from data_prep.workshop import Workshop
from pipeline.errors import BadInput


def bring(source: PreparedSource, name: str, shop: Workshop) -> Manifest:
    """Raises BadInput when it does not come, is damaged or newer than this version."""
    base, work, localise = source.base(), shop.folder, shop.localise
    try:
        _fetch(base, "dataset.json", work, localise)
        manifest = read_manifest(work)
        for split in SPLITS:
            _fetch(base, index_path(work, split).name, work, localise)
            if manifest.multilabel:
                _fetch(base, sets_path(work, split).name, work, localise)
            open_index(work, split, manifest)
    except FileNotFoundError as error:
        raise BadInput(f"{base} is no prepared data set (no {Path(error.filename).name}): mend the path.") from error
    except BadInput as error:
        raise BadInput(str(error).replace(str(work), base)) from error
    source.check(manifest.classes)
    manifest.name, manifest.origin, manifest.base = name, source.origin(), manifest.base or base
    return manifest


def _fetch(base: str, name: str, work: Path, localise: Localise) -> None:
    with localise(f"{base}/{name}") as path:
        shutil.copyfile(path, work / name)
