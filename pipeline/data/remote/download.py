"""Download: one remote object whole into one file: resumed, retried until a deadline, checked."""

import hashlib
import os
import random
import tempfile
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from data_prep.pack import END
from pipeline.data.remote.body import STALL_SECONDS, Body, Changed, Clock, Dropped, Refused, Unavailable, shown
from pipeline.data.remote.filesystem import open_filesystem
from pipeline.data.remote.http import open_http
from pipeline.errors import BadInput

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds between attempts: doubled each time, and by a random factor, so that nodes do not ask all at once."""
JITTER = random.Random()
"""Of its own: a fetch in the background moves no random numbers of whoever trains."""
CHUNK = 1 << 20


class Stopped(Exception):
    """The caller wants it no more."""


class Wrong(Exception):
    """What came is whole, and not what was wanted."""


@dataclass(frozen=True)
class Wanted:
    """An object and what is known of it."""

    url: str
    size: int | None = None
    sha256: str = ""
    archive: bool = False
    """A tar: ends in the end-of-archive block, which is all that tells a whole one where no sha256 is known."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError as error:
            raise BadInput(f"{self.url!r} is no address ({error}): mend it.") from error
        if "://" not in self.url:
            raise BadInput(f"{self.url!r} is no address: it begins with a protocol, such as s3:// or https://.")
        if parts.username or parts.password:
            raise BadInput(f"{shown(self.url)} has a password in its address: set it in fsspec's configuration.")


def fetch(url: str, path: Path, deadline_seconds: float, stall_seconds: float = STALL_SECONDS) -> None:
    """A single object, such as dataset.json or an index, replacing ``path`` only when it is whole.

    Raises BadInput, within the deadline, when it does not come or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            os.fchmod(handle, 0o644)
            Download(Wanted(url), handle, Path(f"{name}.tag"), Clock(deadline_seconds, stall_seconds)).run()
            os.replace(name, path)
        finally:
            os.close(handle)
            for leftover in (name, f"{name}.tag"):
                with suppress(FileNotFoundError):
                    os.unlink(leftover)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): mend its rights or its disk.") from error


class Download:
    """The rest of an object, into an open file that may hold its first bytes already."""

    def __init__(
        self, wanted: Wanted, file: int, tag: Path, clock: Clock, stopped: threading.Event | None = None
    ) -> None:
        """``tag`` is where the version of what the file holds is written, so that another process can go on."""
        self.wanted, self.clock = wanted, clock
        self._file, self._tag = file, tag
        self._stopped = stopped or threading.Event()
        self._open = open_http if urlsplit(wanted.url).scheme in ("http", "https") else open_filesystem
        self._hash, self._hashed = hashlib.sha256(), 0
        self._have = os.lseek(file, 0, os.SEEK_END)

    def run(self) -> None:
        """Raises Unavailable within the deadline, BadInput when it is not what was wanted, OSError when the file cannot
        be written, Stopped.
        """
        url = shown(self.wanted.url)
        futile = wrong = 0
        while True:
            before, asked = self._have, 0.0
            try:
                return self._attempt()
            except Refused as error:
                raise Unavailable(
                    f"{url} cannot be read ({error}): mend the address or the rights to read it."
                ) from error
            except Wrong as error:
                self._restart("")
                reason, wrong = str(error), wrong + 1
                if wrong == 2:
                    raise BadInput(
                        f"{url} is not what the data set's manifest says, fetched twice ({reason}): put the right file "
                        "there, or prepare the data set again."
                    ) from error
            except Changed:
                self._restart("")
                reason = "the object changed while it was read"
            except Dropped as error:
                reason, asked = str(error), error.wait
            futile = 0 if self._have > before else futile + 1
            wait = max(asked, min(FIRST_WAIT * 2 ** min(futile, 30), LONGEST_WAIT) * JITTER.uniform(0.5, 1.5))
            if wait > self.clock.left():
                raise Unavailable(
                    f"{url} did not come within {self.clock.deadline_seconds:g} s ({reason}; {self._have} bytes had "
                    "come): mend the server or the way to it, or allow more time."
                )
            if self._stopped.wait(wait):
                raise Stopped

    def _attempt(self) -> None:
        """Over one connection. Raises Refused, Wrong, Changed, Dropped, Stopped, OSError."""
        url, size = self.wanted.url, self.wanted.size
        if size is None or self._have != size:  # else: killed between the last byte and the check
            version = self._version()
            if self._have and not version and not self.wanted.sha256:
                self._restart("")  # nothing would tell whether it is still the same object
            body = self._open(url, self._have, version, self.clock)
            with closing(body):
                self._take(body, body.size if size is None else size)
        self._check()

    def _take(self, body: Body, size: int | None) -> None:
        if body.size not in (None, size):
            raise Wrong(f"{body.size} bytes, not {size}")
        if body.start == 0:
            self._restart(body.version)
        for block in body.blocks:
            self._write(block)
            if self._stopped.is_set():
                raise Stopped
            if self._have != size and self.clock.left() < 0:
                raise Dropped("it is slow")
        if size is None and not body.ends:
            raise Dropped("the server does not say how long it is")
        if size is not None and self._have < size:
            raise Dropped("the connection closed early")
        if size is not None and self._have > size:
            raise Wrong(f"more than {size} bytes")

    def _check(self) -> None:
        if self.wanted.sha256:
            while block := os.pread(self._file, CHUNK, self._hashed):  # of an earlier process
                self._hash.update(block)
                self._hashed += len(block)
            if (found := self._hash.hexdigest()) != self.wanted.sha256:
                raise Wrong(f"sha256 {found[:12]}..., not {self.wanted.sha256[:12]}...")
        elif self.wanted.archive and os.pread(self._file, len(END), max(0, self._have - len(END))) != END:
            raise Wrong("no end-of-archive block")

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if self.wanted.sha256 and self._hashed == self._have:
            self._hash.update(block)
            self._hashed += len(block)
        self._have += len(block)

    def _restart(self, version: str) -> None:
        """From nothing, of this version. In this order, so that bytes and version agree wherever it is killed."""
        if self._have:  # ext4 writes a file to disk at once, in our time, when it was truncated
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        self._tag.write_text(version)
        self._hash, self._hashed, self._have = hashlib.sha256(), 0, 0

    def _version(self) -> str:
        try:
            return self._tag.read_text()
        except FileNotFoundError:
            return ""
