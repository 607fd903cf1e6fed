"""What a process and all its descendants cost, from /proc: CPU seconds and proportional memory."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def tree() -> list[int]:
    """This process and its descendants, the dead that were not waited for included."""
    parents = {int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = [os.getpid()]
    for pid in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds() -> float:
    """User and system time of the tree, of descendants that ended as well."""
    return sum(sum(map(int, fields[11:15])) for pid in tree() if (fields := _stat(Path(f"/proc/{pid}")))) / TICK


def mebibytes(shared: Path | None = None) -> tuple[float, float]:
    """(proportional memory of the tree, of which mapped from files below ``shared``)."""
    total = mapped = 0
    for pid in tree():
        counts = False
        for line in _text(Path(f"/proc/{pid}/smaps")).splitlines():
            name, _, rest = line.partition(" ")
            if not name.endswith(":"):
                counts = shared is not None and str(shared) in rest
            elif name == "Pss:":
                size = int(rest.split()[0])
                total += size
                mapped += size if counts else 0
    return total / 1024, mapped / 1024


def _parent(process: Path) -> int:
    return int(fields[1]) if (fields := _stat(process)) else 0


def _stat(process: Path) -> list[str]:
    """Fields from the third (state) on; none of a process that has gone."""
    return _text(process / "stat").rpartition(")")[2].split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
