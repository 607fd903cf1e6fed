"""Start-up: wall time of the commands that must feel instant, against an empty Python process in the same run.

python -m benchmarks.startup
"""

import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.table import show

RUNS = 7
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "crossover --help": ["-m", "pipeline", "--help"],
    "crossover plan study=quickstart": ["-m", "pipeline", "plan", "study=quickstart"],
    "crossover status": ["-m", "pipeline", "status"],
}


def median_seconds(words: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    seconds = {name: median_seconds(words) for name, words in COMMANDS.items()}
    base = seconds["python -c pass"]
    rows = [[name, f"{value:.2f} s", f"{value / base:.0f} x"] for name, value in seconds.items()]
    show(["command", f"median of {RUNS}", "of an empty process"], rows)
