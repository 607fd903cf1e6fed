"""Fragment: the records in one ``.wandb`` file, read without wandb.

A fragment is what one process logged of a run. The file is LevelDB's log format: blocks of 32 KiB, each a sequence of
chunks with a header of checksum (4 bytes), length (2) and kind (1), after a file header of 7 bytes
(github.com/google/leveldb, doc/log_format.md).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAMPLES = "samples_seen"

FILE_HEADER = 7
HEADER = struct.Struct("<IHB")
BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def find_fragments(folder: Path, run_id: str) -> list[Path]:
    """Files of all fragments of a run in a wandb folder, offline and online."""
    return sorted(folder.glob(f"wandb/*run-*-{run_id}*/run-{run_id}.wandb"))


def read_records(path: Path) -> Iterator[bytes]:
    """Serialised records, in order. A torn tail, as a killed process leaves it, ends the reading."""
    data = path.read_bytes()
    position, parts = FILE_HEADER, []
    while position + HEADER.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER.size:
            position += left
            continue
        _, length, kind = HEADER.unpack_from(data, position)
        begin = position + HEADER.size
        position = begin + length
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position > len(data):
            return
        if kind in (FULL, FIRST):
            parts = []
        parts.append(data[begin:position])
        if kind in (FULL, LAST):
            yield b"".join(parts)


@dataclass
class Mark:
    """How far a run's history reaches. What lies before it is in W&B already and is not logged twice."""

    samples: float = -1.0
    keys: set[str] = field(default_factory=set)
    """Of the rows at ``samples``: another row may add to them, as the evaluation does."""

    def admits(self, row: dict[str, Any]) -> bool:
        seen = row.get(SAMPLES)
        return seen is None or seen > self.samples or (seen == self.samples and not row.keys() <= self.keys)

    def advance(self, row: dict[str, Any]) -> None:
        seen = row.get(SAMPLES, -1.0)
        if seen > self.samples:
            self.samples, self.keys = seen, set()
        if seen == self.samples:
            self.keys |= row.keys()
