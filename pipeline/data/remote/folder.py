"""Folder: shards on a node's own disk, shared by its processes through locks that die with their holders.

``KEY-BYTES.tar`` is a whole shard; whoever reads it holds a shared lock on it. ``KEY-BYTES.part`` is one that comes;
who fetches it holds an exclusive lock on it, publishes it by a rename, and goes on holding it as a reader. Beside it
lie ``.tag``, the version of what has come, and ``.failed``, why it did not come. A reader's lock is advice about what
to evict: a file that is unlinked while it is read stays readable, so no mistake there can cost a sample.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.data.files import Descriptor

ENTRY = re.compile(r"([0-9a-f]+-(\d+))\.(tar|part)")


class Entry(NamedTuple):
    name: str
    """KEY-BYTES."""
    bytes: int
    """What it takes when it is whole."""


class Folder:
    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        path.mkdir(parents=True, exist_ok=True)
        self.path = path

    def file(self, name: str, kind: str) -> Path:
        return self.path / f"{name}.{kind}"

    def has(self, name: str) -> bool:
        return self.file(name, "tar").exists()

    def open(self, name: str) -> Descriptor | None:
        """The whole shard, held as a reader; None when it is not here."""
        path = self.file(name, "tar")
        try:
            found = Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return None
        fcntl.flock(found.number, fcntl.LOCK_SH)
        if not _is(path, found):
            return None
        with suppress(OSError):
            os.utime(path)
        return found

    def claim(self, name: str) -> Descriptor | None:
        """The part, to be fetched by nobody else as long as the descriptor lives; None while another holds it."""
        path = self.file(name, "part")
        part = Descriptor(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        try:
            fcntl.flock(part.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not _is(path, part):
            return None  # published or evicted between opening and locking
        if self.has(name):
            path.unlink()
            return None
        os.utime(path)
        return part

    def publish(self, name: str, part: Descriptor) -> None:
        """The part is whole now, and its holder a reader."""
        os.replace(self.file(name, "part"), self.file(name, "tar"))
        fcntl.flock(part.number, fcntl.LOCK_SH)
        for kind in ("tag", "failed"):
            self.file(name, kind).unlink(missing_ok=True)

    def withdraw(self, name: str, part: Descriptor) -> None:
        """Nothing was fetched: the claim takes no room."""
        self.file(name, "part").unlink(missing_ok=True)
        self.give_up(part)

    def give_up(self, file: Descriptor) -> None:
        """Hold it no longer, though the descriptor lives on: in an error that is handled, or for a late reader."""
        fcntl.flock(file.number, fcntl.LOCK_UN)

    def fail(self, name: str, sentence: str) -> None:
        """Tell who waits for this shard that it will not come."""
        with suppress(OSError):
            self.file(name, "failed").write_text(sentence)

    def failure(self, name: str, since: float) -> str | None:
        """What was said after this time, by whoever tried."""
        try:
            path = self.file(name, "failed")
            return path.read_text() if path.stat().st_mtime >= since else None
        except FileNotFoundError:
            return None

    def progress(self, name: str) -> tuple[int, ...]:
        """Moves as long as somebody fetches this shard."""
        try:
            found = self.file(name, "part").stat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def opened(self, name: str) -> float:
        """When a process last opened it."""
        try:
            return self.file(name, "tar").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def used(self) -> int:
        """Bytes of all that is here or coming."""
        return sum(entry.bytes for entry in self._entries())

    def make_room(
        self, limit: int, victims: Callable[[list[Entry]], list[Entry]], force: bool
    ) -> tuple[bool, set[str]]:
        """Evict until ``limit`` bytes are used: victims in their order, if nobody reads them; with force, then any.

        Whether that is enough, and what was evicted.
        """
        gone: set[str] = set()
        with self._locked():
            entries = self._entries()
            excess = sum(entry.bytes for entry in entries) - limit
            ordered = victims(entries) if excess > 0 else []
            for forced in (False, True) if force else (False,):
                for entry in ordered:
                    if excess > 0 and entry.name not in gone and self._evict(entry.name, forced):
                        excess -= entry.bytes
                        gone.add(entry.name)
        return excess <= 0, gone

    def discard(self, name: str, shard: Descriptor) -> None:
        """Unlink this copy of a shard."""
        with self._locked():
            if _is(path := self.file(name, "tar"), shard):
                path.unlink()

    def _evict(self, name: str, forced: bool) -> bool:
        """What is being fetched stays in any case."""
        gone = False
        for kind in ("tar", "part"):
            path = self.file(name, kind)
            try:
                file = Descriptor(os.open(path, os.O_RDWR | os.O_CLOEXEC))
                fcntl.flock(file.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                continue
            except BlockingIOError:
                if kind == "part" or not forced:
                    return gone
            path.unlink()
            gone = True
        for kind in ("tag", "failed"):
            self.file(name, kind).unlink(missing_ok=True)
        return gone

    def _entries(self) -> list[Entry]:
        found: dict[str, Entry] = {}
        with os.scandir(self.path) as listing:
            for item in listing:
                if match := ENTRY.fullmatch(item.name):
                    found[match[1]] = Entry(match[1], int(match[2]))
        return list(found.values())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is(path: Path, file: Descriptor) -> bool:
    """Whether the path still leads to this file."""
    try:
        there, here = os.stat(path), os.fstat(file.number)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
