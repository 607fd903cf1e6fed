"""Workshop: where and with what one data set is made."""

from dataclasses import dataclass
from pathlib import Path

from data_prep.executor import Executor, Progress
from data_prep.localise import Localise


@dataclass(frozen=True)
class Workshop:
    folder: Path
    """What is made lies here until it is whole."""
    map: Executor
    progress: Progress
    against: dict[str, Path]
    """By name, folders of the data sets whose test images must not be in it."""
    localise: Localise
