"""A data set that was prepared elsewhere: its folder, on this machine or on an object store or web server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from data_prep.sources.base import Record
from data_prep.sources.files import DeclaredFacts
from data_prep.sources.places import absolute, exists
from pipeline.errors import BadInput


@dataclass
class PreparedSource(DeclaredFacts):
    """What it holds, and all rules by which it was made, are its own; fields that would change it have no effect."""

    kind: ClassVar[str] = "prepared"
    elsewhere: ClassVar[tuple[str, ...]] = (*DeclaredFacts.elsewhere, "url")
    url: str = ""
    """Folder with dataset.json: a path or a URL, such as s3://BUCKET/imagenet-0123456789ab."""

    def records(self) -> Iterator[Record]:
        """Raises BadInput: it is prepared."""
        raise BadInput("This data set is prepared: its images are read where they lie.")

    def base(self) -> str:
        """Without a slash at its end. Raises BadInput when none was given."""
        if not self.url:
            raise BadInput("A data set that was prepared elsewhere is named by data.NAME.url=FOLDER_OR_URL.")
        return absolute(self.url).rstrip("/")

    def location(self) -> str:
        return absolute(self.url) if self.url else ""

    def is_absent(self) -> bool:
        return not self.url or not exists(self.url)

    def content(self) -> dict[str, Any]:
        return {"url": self.location()}
