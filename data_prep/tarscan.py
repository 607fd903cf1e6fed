"""Tar scan: the headers of a plain tar, strictly, and where each member's bytes lie, so that they are read in place.

USTAR, GNU long names and PAX. Every header's checksum is verified and the end block must be there: a tar that was cut
off at a member's edge, or has one damaged header, is not taken for a shorter one, as ``tarfile`` would take it.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

Read = Callable[[int, int], bytes]
"""(size, offset) -> that many bytes from there, fewer at the end: ``partial(os.pread, descriptor)``, or ``Forward``."""
BLOCK, PIECE = 512, 2**20
FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"
KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": FOLDER, b"1": LINK, b"2": LINK}
WITHOUT_CONTENT = b"123456"
"""Types whose size, if they give one, speaks of something else."""
LONG_NAME, LONG_LINK, PAX, PAX_DEFAULTS, SPARSE = b"L", b"K", b"x", b"g", b"S"
LONGEST = 2**20
"""Bytes that a long name or a PAX header may have."""


class DamagedTar(Exception):
    """It is not whole, or holds what cannot be read in place. Says what, without naming the file."""


class Member(NamedTuple):
    name: str
    offset: int
    """Of its content in the file."""
    size: int
    kind: str


def members(read: Read, start: int = 0, stop: int = sys.maxsize) -> Iterator[Member]:
    """Of the tar in bytes [start, stop) of what ``read`` reads, in their order; to the end if that is not known.

    Each is asked for in the order it lies in. Raises DamagedTar, and what ``read`` raises.
    """
    position = start
    defaults: dict[str, bytes] = {}
    extended: dict[str, bytes] = {}
    while any(header := _block(read, position, stop)):
        kind, size = _checked(header, position - start)
        position += BLOCK
        if kind in (LONG_NAME, LONG_LINK, PAX, PAX_DEFAULTS):
            target = defaults if kind == PAX_DEFAULTS else extended
            target.update(_extension(kind, _short(read, position, size, stop)))
        else:
            name = _name(header)
            if defaults or extended:
                name, size = _extended(name, size, {**defaults, **extended})
                extended.clear()
            member = _member(kind, name, position, size)
            if position + (size := member.size) > stop:
                raise DamagedTar(f"it is cut off within {member.name}")
            yield member
        position += size + -size % BLOCK
    if extended:
        raise DamagedTar("its last header has no member")
    _refuse_more(read, position + BLOCK, stop)


class Forward:
    """Reads a stream by position: each place once and in order, but the last piece, or its beginning, once more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._position = file, 0
        self._last, self._last_at = b"", 0

    def __call__(self, size: int, offset: int) -> bytes:
        if offset == self._last_at and size <= len(self._last):
            return self._last[:size]
        while self._position < offset:
            skipped = len(self._file.read(min(PIECE, offset - self._position)))
            if not skipped:
                return b""
            self._position += skipped
        assert self._position == offset
        self._last, self._last_at = self._file.read(size), offset
        self._position += len(self._last)
        return self._last


def text(name: bytes) -> str:
    """UTF-8, or Latin-1 where it is not: always printable, and different names stay different."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _block(read: Read, position: int, stop: int) -> bytes:
    header = read(BLOCK, position) if position + BLOCK <= stop else b""
    if len(header) < BLOCK:
        raise DamagedTar("it is cut off: its end block is missing")
    return header


def _checked(header: bytes, position: int) -> tuple[bytes, int]:
    """(type, size) of a header whose checksum is right."""
    try:
        told = int(header[148:156].strip(b" \0"), 8)
        field = header[124:136]
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        told, size = -1, -1
    if size < 0 or not (told % 65521 == _sum(header) or told == _signed_sum(header)):
        raise DamagedTar(f"damaged header at byte {position}")
    return header[156:157], size


def _sum(header: bytes) -> int:
    """Of all bytes, those of the checksum counted as spaces, modulo 65521: Adler's low half, ten times as fast."""
    return ((zlib.adler32(header[:148] + b" " * 8 + header[156:]) & 0xFFFF) - 1) % 65521


def _signed_sum(header: bytes) -> int:
    """As a few old tars have it."""
    return sum(byte - 256 * (byte > 127) for byte in header[:148] + b" " * 8 + header[156:])


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _member(kind: bytes, name: bytes, position: int, size: int) -> Member:
    if kind == SPARSE:
        raise DamagedTar(f"{text(name)} is sparse, so its bytes do not lie in one piece")
    what = KINDS.get(kind, OTHER)
    if what is FILE and name.endswith(b"/"):  # as folders were before USTAR
        what = FOLDER
    return Member(text(name), position, 0 if kind in WITHOUT_CONTENT else size, what)


def _short(read: Read, position: int, size: int, stop: int) -> bytes:
    if size > LONGEST:
        raise DamagedTar(f"a name of {size} bytes")
    content = read(size, position) if position + size <= stop else b""
    if len(content) < size:
        raise DamagedTar("it is cut off within a long name")
    return content


def _extension(kind: bytes, content: bytes) -> dict[str, bytes]:
    """What a header before a member's own says of it."""
    if kind in (LONG_NAME, LONG_LINK):
        return {"path": content.split(b"\0", 1)[0]} if kind == LONG_NAME else {}
    found: dict[str, bytes] = {}
    while content:
        length, _, rest = content.partition(b" ")
        end = int(length) if length.isdigit() else 0
        keyword, equals, value = rest[: max(0, end - len(length) - 1)].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(content):
            raise DamagedTar("damaged PAX header")
        found[text(keyword)] = value[:-1]
        content = content[end:]
    return found


def _extended(name: bytes, size: int, known: dict[str, bytes]) -> tuple[bytes, int]:
    if any(keyword.startswith("GNU.sparse") for keyword in known):
        raise DamagedTar(f"{text(name)} is sparse, so its bytes do not lie in one piece")
    if not known.get("size", b"0").isdigit():
        raise DamagedTar("damaged PAX header")
    return known.get("path", name), int(known.get("size", size))


def _refuse_more(read: Read, position: int, stop: int) -> None:
    """After the end block there is padding only: what else lay there would be lost. Reads to the end, where a
    compressed file has its checksum."""
    while position < stop and (piece := read(min(PIECE, stop - position), position)):
        if any(piece):
            raise DamagedTar(f"something follows its end block at byte {position}")
        position += len(piece)
