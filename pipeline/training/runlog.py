"""What the training says to a tracker, whichever it is. The tracker itself lives above this row and is handed in."""

from collections.abc import Callable
from typing import Any, Protocol

from pipeline.job import Job


class RunLog(Protocol):
    """Never raises: a tracker must not stop or slow a study."""

    status: str

    @property
    def logger(self) -> Any:
        """A Lightning logger, or None."""
        ...

    def log(self, row: dict[str, float]) -> None: ...

    def summary(self, values: dict[str, Any]) -> None: ...

    def finish(self, failed: bool = False) -> None: ...


class Silent:
    """No tracker."""

    status = "off"
    logger = None

    def log(self, row: dict[str, float]) -> None:
        """Nothing."""

    def summary(self, values: dict[str, Any]) -> None:
        """Nothing."""

    def finish(self, failed: bool = False) -> None:
        """Nothing."""


OpenRun = Callable[[Job], RunLog]


def silent(job: Job) -> RunLog:
    """The tracker of tests and of ``track=off``."""
    return Silent()
