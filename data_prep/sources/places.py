"""Places: files named by a path or URL, a folder, a pattern or braces, in a fixed order."""

import glob
import os
import re
from pathlib import Path

from pipeline.errors import BadInput, brief

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
PATTERN = re.compile(r"[*?[]")
COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")
UNLISTED = ("http", "https")
"""Protocols whose servers have no listing that can be relied on."""


def is_url(place: str) -> bool:
    return "://" in place


def absolute(place: str) -> str:
    return place if is_url(place) or not place else os.path.abspath(Path(place).expanduser())


def expand(place: str) -> list[str]:
    """Tars, as absolute paths or URLs. Raises BadInput when there is none, or one that cannot be read in place."""
    found = [each for one in braced(absolute(place)) for each in (_remote(one) if is_url(one) else _local(one))]
    for each in found:
        if each.endswith(COMPRESSED):
            raise BadInput(f"{each} is compressed, so it cannot be read in place: unpack it to a .tar.")
    return found


def exists(place: str) -> bool:
    """Whether there is anything at all; of a URL, not asked."""
    return is_url(place) or any(glob.glob(one) or os.path.exists(one) for one in braced(absolute(place)))


def braced(place: str) -> list[str]:
    """``a{1..3}b{x,y}`` to all its six; leading zeros give numbers their width."""
    match = BRACES.search(place)
    if match is None:
        return [place]
    if numbers := RANGE.fullmatch(match[1]):
        width, (first, last) = len(numbers[1]), (int(numbers[1]), int(numbers[2]))
        choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
    elif "," in match[1]:
        choices = match[1].split(",")
    else:
        raise BadInput(f"{place} has braces that are neither {{000..127}} nor {{a,b}}: mend them.")
    if not choices:
        raise BadInput(f"{place} counts down in its braces: write the smaller number first.")
    rest = braced(place[match.end() :])
    return [place[: match.start()] + choice + end for choice in choices for end in rest]


def _local(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        found = sorted(glob.glob(os.path.join(glob.escape(path), "*.tar")))
    else:
        found = sorted(glob.glob(path)) if PATTERN.search(path) else []
    if not found:
        raise BadInput(f"{path} is no .tar file, no folder of any, and no pattern that any fits: mend the path.")
    return found


def _remote(url: str) -> list[str]:
    if url.endswith("/"):
        url += "*.tar"
    if not PATTERN.search(url.partition("?")[0] if url.startswith(UNLISTED) else url):
        return [url]
    if url.startswith(UNLISTED):
        raise BadInput(f"{url}: a web server has no listing, so name its archives by braces, as x-{{000..127}}.tar.")
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        found = sorted(system.unstrip_protocol(str(each)) for each in system.glob(path))
    except Exception as error:  # each kind of storage has its own
        raise BadInput(f"{url} cannot be listed ({brief(error)}): mend it, or name the archives by braces.") from error
    if not found:
        raise BadInput(f"{url}: no archive fits this pattern.")
    return found
