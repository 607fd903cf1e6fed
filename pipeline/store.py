"""Store: named bytes on any fsspec path, published by one atomic act.

On a local folder a write is a temporary file, fsync and rename (or link, to create exactly once). On an object store
a put is atomic and ``create`` is a conditional put. Nothing here knows what the bytes mean.
"""

import contextlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput


class Store:
    """Bytes under keys such as ``ledger/ab12.json``. Picklable: it travels to workers as its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.local = None if "://" in url and not url.startswith("file://") else _local_root(url)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "local": self.local}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError, TypeError) as error:
            raise BadInput(
                f"The store {self.url!r} cannot be opened: {error}. Install the fsspec driver of that protocol."
            ) from error
        return fs, root.rstrip("/")

    def describe(self, key: str) -> str:
        """Where a person finds this key."""
        return str(self.local / key) if self.local else f"{self.url.rstrip('/')}/{key}"

    def check_readable(self) -> None:
        """Raises BadInput when nothing answers at the address; a folder that is not there yet is an empty store."""
        if self.local is None:
            try:
                fs, root = self._remote
                fs.exists(root)
            except BadInput:
                raise
            except Exception as error:  # every driver has its own
                raise self._unusable("reached", error) from error

    def check_writable(self) -> None:
        """Raises BadInput, before any work, when nothing could be published here."""
        probe = f".probe-{os.getpid()}"
        try:
            self.put(probe, b"")
            self.delete(probe)
        except BadInput:
            raise
        except Exception as error:
            if self.local is None or isinstance(error, OSError):
                raise self._unusable("written", error) from error
            raise

    def _unusable(self, what: str, error: Exception) -> BadInput:
        why = (
            getattr(error, "strerror", None)
            or str(error).strip().partition("\n")[0].rstrip(".")
            or type(error).__name__
        )
        return BadInput(
            f"The store {self.url!r} cannot be {what} ({why}): mend that, or choose another with "
            "placement.store=FOLDER_OR_URL."
        )

    def put(self, key: str, data: bytes) -> None:
        """Publish, replacing what was there. Readers see the old bytes or the new ones, never a part."""
        if self.local is None:
            fs, root = self._remote
            _parents(fs, f"{root}/{key}")
            fs.pipe_file(f"{root}/{key}", data)
            return
        with _temporary(self.local / key, data) as temporary:
            os.replace(temporary, self.local / key)

    def create(self, key: str, data: bytes) -> bool:
        """Publish only if nothing is there. False when somebody else was first."""
        if self.local is None:
            fs, root = self._remote
            _parents(fs, f"{root}/{key}")
            try:
                fs.pipe_file(f"{root}/{key}", data, mode="create")
            except FileExistsError:
                return False
            return True
        with _temporary(self.local / key, data) as temporary:
            try:
                os.link(temporary, self.local / key)
            except FileExistsError:
                return False
            return True

    def put_file(self, key: str, path: Path) -> None:
        """Publish a large local file."""
        if self.local is None:
            fs, root = self._remote
            _parents(fs, f"{root}/{key}")
            fs.put_file(str(path), f"{root}/{key}")
            return
        self.put(key, path.read_bytes())

    def get(self, key: str) -> bytes | None:
        """The bytes, or None when nothing was published."""
        try:
            if self.local is not None:
                return (self.local / key).read_bytes()
            fs, root = self._remote
            return fs.cat_file(f"{root}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise BadInput(f"{self.describe(key)} cannot be read (permission denied): mend its rights.") from error

    def exists(self, key: str) -> bool:
        if self.local is not None:
            return (self.local / key).exists()
        fs, root = self._remote
        fs.invalidate_cache()
        return bool(fs.exists(f"{root}/{key}"))

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.local is not None:
                (self.local / key).unlink()
            else:
                fs, root = self._remote
                fs.rm_file(f"{root}/{key}")

    def keys(self, prefix: str) -> list[str]:
        """Keys directly or deeper under the folder ``prefix``, sorted. Temporary files are not keys."""
        if self.local is not None:
            base = self.local / prefix
            try:
                found = [str(p.relative_to(self.local)) for p in base.rglob("*") if p.is_file()]
            except PermissionError as error:
                raise BadInput(f"{base} cannot be read (permission denied): mend its rights.") from error
        else:
            fs, root = self._remote
            fs.invalidate_cache()
            try:
                paths = fs.find(f"{root}/{prefix}")
            except FileNotFoundError:
                return []
            found = [p.removeprefix(root).lstrip("/") for p in paths]
        return sorted(k for k in found if not k.rsplit("/", 1)[-1].startswith("."))


def _local_root(url: str) -> Path:
    return Path(url.removeprefix("file://")).expanduser().absolute()


def _parents(fs: Any, path: str) -> None:
    if "memory" in fs.protocol or "file" in fs.protocol:
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)


@contextlib.contextmanager
def _temporary(target: Path, data: bytes):
    """A synced file beside ``target``; removed afterwards if the caller did not move it away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
