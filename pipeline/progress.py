"""Progress: one line about images that are being prepared or verified; on a terminal it moves, elsewhere it is printed
every ten seconds.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_SECONDS = 10.0


class ProgressLine:
    """A context, to be called with what is done (``data_prep.executor.Progress``)."""

    def __init__(self, console: Console, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.name, self.clock = console, name, clock
        self._live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None
        self._what = ""
        self._first = 0
        self._began = self._told = clock()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = self.clock()
        if what != self._what:
            self._what, self._first, self._began = what, done, now
        rate = (done - self._first) / (now - self._began) if now > self._began else 0.0
        line = f"{what} {self.name}: {described(done, total, rate)}"
        if self._live:
            self._live.update(Text(line))
        elif now - self._told >= PLAIN_SECONDS:
            self._told = now
            self.console.print(line, markup=False)


def described(done: int, total: int | None, rate: float) -> str:
    """``1,200 of 4,800 images (25 %), 300/s, 12 s left``; without what is unknown. ``rate`` is in images per second."""
    parts = [f"{done:,} images" if total is None else f"{done:,} of {total:,} images ({_percent(done, total)} %)"]
    if rate > 0:
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
        if total is not None and done < total:
            parts.append(f"{_span((total - done) / rate)} left")
    return ", ".join(parts)


def _percent(done: int, total: int) -> int:
    return 100 if done >= total else 100 * done // total


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
