"""Pulse: a thread that says a segment is alive: progress record, lease, and whether the driver asked to stop."""

import json
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

from pipeline.lease import Lease
from pipeline.store import Store


class Pulse:
    """Beats every ``seconds`` while the body runs. ``note`` is what people see of the running segment."""

    def __init__(
        self, store: Store, key: str, lease: Lease | None, seconds: float, stop_key: str, note: dict[str, Any]
    ) -> None:
        self.store, self.key, self.lease, self.seconds = store, key, lease, seconds
        self.stop_key = stop_key
        self.note = {
            "key": key,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": time.time(),
            **note,
        }
        self.stop_asked = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pulse-{key[-16:]}", daemon=True)

    def __enter__(self) -> "Pulse":
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.store.delete(progress_key(self.key))

    def _run(self) -> None:
        while not self._ended.wait(self.seconds):
            try:
                self._beat()
            except OSError:
                continue  # a full disk must not end the training; publishing the result will say so

    def _beat(self) -> None:
        record = json.dumps({**self.note, "heartbeat": time.time()}).encode()
        self.store.put(progress_key(self.key), record)
        if self.lease is not None:
            self.lease.renew()
        self.stop_asked = self.stop_asked or (bool(self.stop_key) and self.store.exists(self.stop_key))


def progress_key(address_key: str) -> str:
    return f"progress/{address_key.replace('/', '-')}.json"
