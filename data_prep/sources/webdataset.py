"""WebDataset archives made elsewhere: indexed in place, not copied, on this machine or on an object store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.manifest import SPLITS
from data_prep.sources.base import Record, Stored
from data_prep.sources.deferred import reading
from data_prep.sources.files import DeclaredFacts, stats
from data_prep.sources.places import absolute, exists, expand, is_url
from data_prep.webdataset import JSON, Keys
from pipeline.errors import BadInput


@dataclass
class WebdatasetSource(DeclaredFacts):
    """Each split is a file, a folder of .tar files, a pattern (``train-*.tar``) or braces (``train-{000..127}.tar``): a
    path, or a URL such as s3://BUCKET/train-{000..127}.tar. Where a server lists nothing (http), braces it must be.
    """

    kind: ClassVar[str] = "webdataset"
    elsewhere: ClassVar[tuple[str, ...]] = (*DeclaredFacts.elsewhere, *SPLITS, "class_names")
    stored: Stored = Stored.original
    train: str = ""
    val: str = ""
    test: str = ""
    label_key: str = "cls"
    """Member whose text is the label, or ``json:FIELD``: a class, its number, or a list of them."""
    image_key: str = ""
    """Member that is the image, where a sample has several."""
    class_names: str = ""
    """File with the name of one class a line, if labels are their numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stored is not Stored.original:
            raise BadInput("Archives that are indexed in place are stored as they are: leave out data.*.stored.")
        if not self.label_key or self.label_key == JSON:
            raise BadInput("data.*.label_key must be the ending of a member, such as cls, or json:FIELD.")

    def records(self) -> Iterator[Record]:
        """Raises BadInput: these archives are indexed, not read one image after another."""
        raise BadInput("WebDataset archives are indexed where they lie: their images are not copied.")

    def shards(self) -> list[tuple[str, str]]:
        """(split, path or URL), split by split, each in the order of its names. Raises BadInput."""
        found = [(split, place) for split in SPLITS if getattr(self, split) for place in expand(getattr(self, split))]
        if not self.train:
            raise BadInput("WebDataset archives are named by data.NAME.train=FILE_FOLDER_PATTERN_OR_URL, val and test.")
        seen: dict[str, str] = {}
        for split, place in found:
            if place in seen:
                raise BadInput(f"{place} is named twice, for {seen[place]} and {split}: name each archive once.")
            seen[place] = split
        return found

    def keys(self) -> Keys:
        """What ``index_shard`` needs to know. Raises BadInput."""
        return Keys(self.label_key, self.image_key, self._names())

    def location(self) -> str:
        return "|".join(absolute(getattr(self, split)) for split in SPLITS if getattr(self, split))

    def is_absent(self) -> bool:
        return not self.train or not all(exists(getattr(self, split)) for split in SPLITS if getattr(self, split))

    def content(self) -> dict[str, Any]:
        """Of archives here, sizes and times; of those elsewhere, their names, for they are not asked for here."""
        plain: dict[str, Any] = {"names": self._names()} if self.class_names and not self.is_absent() else {}
        for split in SPLITS:
            pattern = getattr(self, split)
            here = pattern and not is_url(pattern) and exists(pattern)
            plain[split] = [stats(Path(place)) for place in expand(pattern)] if here else absolute(pattern)
        return plain

    def _names(self) -> tuple[str, ...]:
        if not self.class_names:
            return ()
        path = Path(self.class_names).expanduser()
        try:
            with reading(path):
                names = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is no UTF-8 text with one class name a line.") from error
        if not names or len(set(names)) < len(names):
            raise BadInput(f"{path} must name every class once, one a line.")
        return names
