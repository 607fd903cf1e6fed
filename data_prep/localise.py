"""Localise: a shard that lies elsewhere, as a file here for as long as a task needs it."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

Localise = Callable[[str], AbstractContextManager[Path]]
"""Path or URL to a file of this machine. Can be pickled; raises BadInput for what does not come."""


@contextlib.contextmanager
def here(place: str) -> Iterator[Path]:
    """What lies on a file system that all workers see."""
    yield Path(place)
