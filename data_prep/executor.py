"""Executor: runs the tasks of preparing, here or on a cluster. A task is a pure function of its job and of the files it
reads, and it publishes what it makes in one atomic act, so running it twice, or elsewhere, changes nothing.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how many images are, and of how many if that is known."""


class Executor(Protocol):
    """Like ``map``: takes jobs as it needs them, a bounded number at a time, and gives results in their order. Raises
    what a task raised, the first in order. Functions, jobs and results can be pickled.
    """

    def __call__(self, function: Callable[[J], R], jobs: Iterable[J], /) -> Iterable[R]: ...


def silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody is told."""
