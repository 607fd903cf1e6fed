"""Digest: sha256 of a file, in a few megabytes of memory."""

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """Hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
