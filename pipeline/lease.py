"""Lease: keeps two drivers from doing one segment at once; expires with its holder.

It saves work and is never needed for correctness: a segment run twice publishes the same bytes at the same address.
"""

import json
import os
import socket
import time
import uuid
from functools import cache
from pathlib import Path

from pipeline.store import Store


class Lease:
    def __init__(self, store: Store, key: str, seconds: float) -> None:
        self.store, self.key, self.seconds = store, lease_key(key), seconds
        self.holder = uuid.uuid4().hex

    def acquire(self) -> bool:
        """False while a living holder has it."""
        if self.store.create(self.key, self._record()):
            return True
        found = self.store.get(self.key)
        if found is None:
            return self.store.create(self.key, self._record())
        if _alive(found):
            return False
        self.store.delete(self.key)
        return self.store.create(self.key, self._record())

    def renew(self) -> None:
        self.store.put(self.key, self._record())

    def release(self) -> None:
        self.store.delete(self.key)

    def _record(self) -> bytes:
        return json.dumps({"holder": self.holder, "expires": time.time() + self.seconds, **_process()}).encode()


def held(store: Store, key: str) -> bool:
    """Whether a living holder has the lease."""
    found = store.get(lease_key(key))
    return found is not None and _alive(found)


def lease_key(address_key: str) -> str:
    return f"leases/{address_key.replace('/', '-')}.json"


def _process() -> dict[str, object]:
    return {"machine": _machine(), "pid": os.getpid(), "born": _born(os.getpid())}


@cache
def _machine() -> str:
    """The host and process-number space, so that a dead holder on this machine is seen at once."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str:
    """Start time of a process in clock ticks; tells a reused number from the holder's. Empty where unknown."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "" if state == "Z" else rest[18]
    except (OSError, ValueError, IndexError):
        return ""


def _alive(record: bytes) -> bool:
    try:
        lease = json.loads(record)
        expired = float(lease["expires"]) < time.time()
        here = lease["machine"] == _machine()
    except (ValueError, KeyError, TypeError):
        return False
    if expired:
        return False
    return not here or (lease["born"] == _born(lease["pid"]) if lease["born"] else True)
