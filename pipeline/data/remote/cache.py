"""Cache: reads of remote shards, each fetched whole, once for all processes of a node, and ahead where a plan is known.

Whole shards, since a request a sample costs more than the sample's share of a shard even in random order.
"""

import errno
import hashlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.pack import Shard
from pipeline.data.files import Descriptor, OpenFiles
from pipeline.data.remote.body import STALL_SECONDS, Clock, Unavailable, shown
from pipeline.data.remote.download import CHUNK, Download, Stopped, Wanted
from pipeline.data.remote.folder import Entry, Folder
from pipeline.data.remote.upcoming import Upcoming
from pipeline.errors import BadInput, brief

log = logging.getLogger(__name__)

PREFETCHERS = 4
"""Threads: one connection to an object store is slower than one accelerator."""
POLL_SECONDS, BUSY_SECONDS, IDLE_SECONDS = 0.02, 0.2, 60.0
"""Between looks: of a reader that waits; of a prefetcher while others fetch what it wants, or while all is here."""
NEVER = threading.Event()
FULL = {errno.ENOSPC, errno.EDQUOT}


class ShardCache:
    """Reads as ``ShardFiles`` does. Threads may share it, processes its folder. Not to be used after a fork."""

    def __init__(
        self,
        urls: Sequence[str],
        shards: Sequence[Shard],
        folder: Path,
        limit_bytes: int,
        deadline_seconds: float,
        stall_seconds: float = STALL_SECONDS,
        verify: bool = True,
    ) -> None:
        """A shard comes within ``deadline_seconds`` or is an error; silence of ``stall_seconds`` is a lost connection.

        ``verify=False`` leaves out the sha256 of a shard that comes (its size and end are checked still), for readers
        that check every sample and call ``renew``. Raises BadInput.
        """
        self._wanted = [
            Wanted(url, shard.bytes, shard.sha256, archive=True) for url, shard in zip(urls, shards, strict=True)
        ]
        self._names = [_name(wanted) for wanted in self._wanted]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._verify, self._limit = verify, limit_bytes
        self._deadline, self._stall = deadline_seconds, stall_seconds
        try:
            self._folder = Folder(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._upcoming = Upcoming([shard.bytes for shard in shards], limit_bytes)
        self._files = OpenFiles(self._opened)
        self._closed, self._news = threading.Event(), threading.Condition()
        self._told = 0
        self._here: set[int] = set()
        """Of what is planned: what need not be looked for again until it is used."""
        self._coming: set[int] = set()
        self._renewed: set[int] = set()
        self._renewing = threading.Lock()
        self._prefetchers: list[threading.Thread] = []

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Fewer bytes than ``size`` where the shard ends early.

        Raises Unavailable when the shard does not come, BadInput when it is wrong, OSError when the copy is not read.
        """
        if self._upcoming.read(shard):
            self._move_on()
        return self._files.get(shard).read(offset, size)

    def prefetch(self, windows: Iterable[Collection[int]]) -> None:
        """Fetch ahead, from the present position on, the shards of each window: those that are in use together.

        May be endless, and replaces an earlier plan. Reading is followed by what is read. A limit of two windows lets
        one be fetched while another is read.
        """
        self._upcoming.follow(windows)
        self._here.clear()
        if not self._prefetchers and not self._closed.is_set():
            self._prefetchers = [
                threading.Thread(target=self._fetch_ahead, name="prefetch", daemon=True) for _ in range(PREFETCHERS)
            ]
            for thread in self._prefetchers:
                thread.start()
        self._move_on()

    def renew(self, shard: int) -> None:
        """For a reader to whom a sample looks damaged: fetch the shard again unless the copy here is certainly whole.

        Once a shard: what is wrong at its source stays so. Raises BadInput then, the first time.
        """
        name, sha256 = self._names[shard], self._wanted[shard].sha256
        with self._renewing:
            if shard in self._renewed:
                return
            self._renewed.add(shard)
            copy = self._folder.open(name)
            whole = copy is not None and sha256 != "" and _sha256(copy) == sha256
            if copy is not None and not whole:
                self._folder.discard(name, copy)
            self._files.drop(shard)
            if not whole:
                self._opened(shard, verify=True)

    def close(self) -> None:
        self._closed.set()
        self._move_on()
        for thread in self._prefetchers:
            thread.join(1.0)  # they are daemons: one that waits for a silent server is left behind
        self._files.clear()

    def _opened(self, shard: int, verify: bool = False) -> Descriptor:
        """Fetched if it is not here, by this thread or, while this one waits, by another or another process."""
        name, since = self._names[shard], time.time()
        seen, moved = (), time.monotonic()
        try:
            while True:
                if (found := self._folder.open(name)) is not None:
                    return found
                if (said := self._folder.failure(name, since)) is not None:
                    raise Unavailable(said)
                if (part := self._folder.claim(name)) is not None:
                    fits = self._make_room(self._limit, shard)
                    found = self._fetched(shard, part, self._verify or verify, NEVER)
                    if not fits:  # beside what was coming just then
                        self._make_room(self._limit, shard)
                    return found
                if (now := self._folder.progress(name)) != seen:
                    seen, moved = now, time.monotonic()
                elif time.monotonic() - moved > 2 * self._deadline:
                    raise Unavailable(
                        f"{shown(self._wanted[shard].url)} is being fetched by a process that has stopped, but holds "
                        f"{self._folder.file(name, 'part')}: end it."
                    )
                time.sleep(POLL_SECONDS)
        except OSError as error:
            raise _unwritable(self._folder.path, error) from error

    def _fetched(self, shard: int, part: Descriptor, verify: bool, stopped: threading.Event) -> Descriptor:
        """Raises BadInput, Stopped, OSError."""
        name, wanted = self._names[shard], self._wanted[shard]
        wanted = wanted if verify else replace(wanted, sha256="")
        tag = self._folder.file(name, "tag")
        try:
            while True:
                try:
                    clock = Clock(self._deadline, self._stall)
                    Download(wanted, part.number, tag, clock, stopped).run()
                    self._folder.publish(name, part)
                    return part
                except OSError as error:
                    if error.errno not in FULL or not self._make_room(self._folder.used() - 1, shard):
                        raise
        except BaseException as error:
            if isinstance(error, Unavailable):
                self._folder.fail(name, str(error))
            self._folder.give_up(part)
            raise

    def _move_on(self) -> None:
        """A window begins: let go of what is over, and fetch what fits now."""
        for shard, file in self._files.opened().items():
            if shard in self._upcoming.before:
                self._folder.give_up(file)  # others may evict it; a thread that is late can read it still
            elif shard not in self._upcoming.present:
                self._files.drop(shard)
        with self._news:
            self._here -= self._upcoming.before
            self._told += 1
            self._news.notify_all()

    def _make_room(self, limit: int, coming: int, ahead: bool = False) -> bool:
        """For a shard that comes; if it does so ahead of need, only in place of what is needed later than it."""
        worth, order = self._upcoming.keep(coming), {shard: k for k, shard in enumerate(self._files.opened())}

        def victims(entries: list[Entry]) -> list[Entry]:
            found = []
            for entry in entries:
                shard = self._numbers.get(entry.name, -1)
                keep = self._upcoming.keep(shard)
                if shard == coming or (ahead and keep >= worth):
                    continue
                recent = (1, order[shard]) if shard in order else (0, self._folder.opened(entry.name))
                found.append((*keep, *recent, entry))
                if shard in order and shard not in self._upcoming.present and shard not in self._upcoming.before:
                    self._files.drop(shard)
            return [entry for *_, entry in sorted(found)]

        enough, evicted = self._folder.make_room(limit, victims, force=not ahead)
        self._here -= {self._numbers.get(name, -1) for name in evicted}
        return enough

    def _fetch_ahead(self) -> None:
        while not self._closed.is_set():
            told = self._told
            if (pause := self._fetch_next()) is not None:
                with self._news:
                    self._news.wait_for(lambda told=told: self._told != told, pause)

    def _fetch_next(self) -> float | None:
        """Fetch the first shard that is planned, fits and is not here; if there is none, seconds until there may be."""
        pause = IDLE_SECONDS
        for shard in self._upcoming.wanted(self._here):
            with self._news:
                if shard in self._here or shard in self._coming:
                    continue
                self._coming.add(shard)
            try:
                if self._fetch(shard):
                    return None
                pause = BUSY_SECONDS
            finally:
                self._coming.discard(shard)
        return pause

    def _fetch(self, shard: int) -> bool:
        """Ahead of need. False when that cannot be now."""
        name = self._names[shard]
        try:
            if not self._folder.has(name):
                if (part := self._folder.claim(name)) is None:
                    return False
                if not self._make_room(self._limit, shard, ahead=True):
                    self._folder.withdraw(name, part)
                    return False
                self._fetched(shard, part, self._verify, self._closed)
        except Stopped:
            return False
        except (BadInput, OSError) as error:
            log.warning("A shard was not fetched ahead of need, when it is tried again: %s", brief(error))
        self._here.add(shard)
        return True


def _name(wanted: Wanted) -> str:
    """KEY-BYTES: of equal content where that is known, so that it is not fetched again from another address."""
    return f"{hashlib.sha256((wanted.sha256 or wanted.url).encode()).hexdigest()[:32]}-{wanted.size}"


def _sha256(file: Descriptor) -> str:
    digest, offset = hashlib.sha256(), 0
    while block := file.read(offset, CHUNK):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def _unwritable(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"The shard cache {folder} cannot be written ({error.strerror}): free space there, mend its rights, or choose "
        "another folder."
    )
