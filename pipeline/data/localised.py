"""Localised: a shard on an object store or web server, fetched for as long as one task needs it."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def localised(folder: Path, deadline_seconds: float, place: str) -> Iterator[Path]:
    """A path as it is, a URL as a file in ``folder``, which has the deadline to come. Raises BadInput."""
    if "://" not in place:
        yield Path(place)
        return
    from pipeline.data.remote import fetch

    path = folder / f"{uuid.uuid4().hex}.tar"
    try:
        fetch(place, path, deadline_seconds)
        yield path
    finally:
        path.unlink(missing_ok=True)
