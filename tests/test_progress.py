"""What is said of images that are being prepared."""

import io

import pytest
from rich.console import Console

from pipeline.progress import ProgressLine, described


@pytest.mark.parametrize(
    ("done", "total", "rate", "line"),
    [
        (1200, 4800, 300.0, "1,200 of 4,800 images (25 %), 300/s, 12 s left"),
        (4799, 4800, 2.5, "4,799 of 4,800 images (99 %), 2.5/s, 0 s left"),
        (4800, 4800, 300.0, "4,800 of 4,800 images (100 %), 300/s"),
        (1000, 1_000_000, 100.0, "1,000 of 1,000,000 images (0 %), 100/s, 2.8 h left"),
        (1000, 100_000, 100.0, "1,000 of 100,000 images (1 %), 100/s, 16 min left"),
        (1200, None, 300.0, "1,200 images, 300/s"),
        (5000, 4800, 300.0, "5,000 of 4,800 images (100 %), 300/s"),
        (0, 4800, 0.0, "0 of 4,800 images (0 %)"),
    ],
)
def test_rate_share_and_time_left(done: int, total: int | None, rate: float, line: str) -> None:
    assert described(done, total, rate) == line


def test_without_a_terminal_a_line_every_ten_seconds_and_none_for_short_work() -> None:
    out, now = io.StringIO(), [0.0]
    with ProgressLine(Console(file=out, width=200), "cifar10", lambda: now[0]) as progress:
        for second in range(1, 26):
            now[0] = float(second)
            progress("Reading", 1000 + 100 * second, 10_000)
    assert out.getvalue().splitlines() == [
        "Reading cifar10: 2,000 of 10,000 images (20 %), 100/s, 80 s left",
        "Reading cifar10: 3,000 of 10,000 images (30 %), 100/s, 70 s left",
    ]


def test_what_a_killed_run_had_done_does_not_count_as_speed() -> None:
    out, now = io.StringIO(), [0.0]
    with ProgressLine(Console(file=out, width=200), "x", lambda: now[0]) as progress:
        progress("Reading", 9000, None)
        now[0] = 20.0
        progress("Reading", 9200, None)
    assert out.getvalue() == "Reading x: 9,200 images, 10/s\n"


def test_on_a_terminal_there_is_one_line_and_nothing_is_left_of_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with ProgressLine(console, "x") as progress:
        progress("Packing", 5, 10)
        assert progress._live is not None
        progress._live.refresh()
    assert "Packing x: 5 of 10 images (50 %)" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[2K")
