"""Zip scan: the central directory, strictly and a piece at a time, and where each member's bytes lie.

The count, the size and the place of the directory must be as its end says, and every member's own header must name what
the directory names. Only members that are stored or deflated are taken, for they can be read in place.
"""

import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

DIRECTORY, LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
END, LOCATOR, END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
LONGEST_COMMENT = 2**16
ENCRYPTED, UTF8 = 0x1, 0x800
STORED, DEFLATED = 0, 8
UNIX = 3
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF
"""Stand in fields that are too small, where zip64 has the number elsewhere."""
LONGEST_ENTRY = DIRECTORY.size + 3 * FULL16
PIECE = 2**20


class DamagedZip(Exception):
    """It is not whole, or holds what cannot be read in place. Says what, without naming the file."""


class ZipMember(NamedTuple):
    name: str
    """Of a folder it ends with a slash."""
    offset: int
    """Of its content in the file."""
    packed: int
    """Bytes it takes in the file."""
    size: int
    crc: int
    deflated: bool
    is_link: bool


def members(descriptor: int) -> Iterator[ZipMember]:
    """Of an open file, in the directory's order. Raises DamagedZip, OSError."""
    count, start, stop, shift = _end(descriptor)
    buffer, at, position = b"", 0, start
    for _ in range(count):
        if len(buffer) - at < LONGEST_ENTRY and position < stop:
            buffer, at = buffer[at:] + os.pread(descriptor, min(PIECE, stop - position), position), 0
            position = min(position + PIECE, stop)
        member, took = _entry(descriptor, buffer, at, shift)
        if member.offset + member.packed > start:
            raise DamagedZip(f"the size of {member.name} is damaged")
        at += took
        yield member
    if at != len(buffer) or position < stop:
        raise DamagedZip("its directory holds more than its end says")


def _end(descriptor: int) -> tuple[int, int, int, int]:
    """Of the directory: entries, where it starts and stops, and by how much all places are shifted by what precedes."""
    whole = os.fstat(descriptor).st_size
    longest = END64.size + LOCATOR.size + END.size + LONGEST_COMMENT
    tail = os.pread(descriptor, longest, max(0, whole - longest))
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise DamagedZip("its end is missing")
    _, disk, first_disk, here, count, length, offset, comment = END.unpack_from(tail, at)
    stop = whole - len(tail) + at
    if at + END.size + comment != len(tail) or disk or first_disk or here != count:
        raise DamagedZip("its end is damaged, or it is one of several parts")
    large = tail[max(0, at - END64.size - LOCATOR.size) : at]
    if large[-LOCATOR.size :].startswith(b"PK\6\7") or count == FULL16 or FULL32 in (length, offset):
        if len(large) < END64.size + LOCATOR.size or large[:4] != b"PK\6\6":
            raise DamagedZip("its end is damaged")
        *_, count, length, offset = END64.unpack_from(large)
        stop -= len(large)
    start = stop - length
    if not 0 <= offset <= start:
        raise DamagedZip("its directory does not lie where its end says")
    return count, start, stop, start - offset


def _entry(descriptor: int, buffer: bytes, at: int, shift: int) -> tuple[ZipMember, int]:
    """(member, bytes of its entry), of the entry at ``buffer[at:]``."""
    if len(buffer) - at < DIRECTORY.size or buffer[at : at + 4] != b"PK\1\2":
        raise DamagedZip("its directory is damaged")
    fields = DIRECTORY.unpack_from(buffer, at)
    _, made_by, _, flags, method, _, _, crc, packed, size, named, extra, comment, _, _, attributes, offset = fields
    at += DIRECTORY.size
    if len(buffer) - at < named + extra + comment:
        raise DamagedZip("its directory is damaged")
    raw = buffer[at : at + named]
    if FULL32 in (packed, size, offset):
        size, packed, offset = _zip64(buffer[at + named : at + named + extra], size, packed, offset)
    name = _text(raw, flags)
    if flags & ENCRYPTED:
        raise DamagedZip(f"{name} is encrypted")
    if method not in (STORED, DEFLATED):
        raise DamagedZip(f"{name} is compressed by method {method}, where only deflate is read")
    content = _content(descriptor, shift + offset, raw, name)
    is_link = made_by >> 8 == UNIX and stat.S_ISLNK(attributes >> 16)
    member = ZipMember(name, content, packed, size, crc, method == DEFLATED, is_link)
    return member, DIRECTORY.size + named + extra + comment


def _zip64(extra: bytes, *numbers: int) -> list[int]:
    """Those that did not fit, from the extra field, in the order they are kept in."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            kept = iter(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
            found = [next(kept, -1) if number == FULL32 else number for number in numbers]
            if min(found) >= 0:
                return found
        extra = extra[4 + length :]
    raise DamagedZip("its directory is damaged")


def _text(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise DamagedZip("its directory is damaged") from error


def _content(descriptor: int, offset: int, raw: bytes, name: str) -> int:
    """Where the bytes of a member begin; its own header must be there and name it."""
    header = os.pread(descriptor, LOCAL.size + len(raw), offset)
    if len(header) < LOCAL.size + len(raw) or header[:4] != b"PK\3\4" or header[LOCAL.size :] != raw:
        raise DamagedZip(f"the header of {name} is damaged")
    named, extra = LOCAL.unpack_from(header)[-2:]
    if named != len(raw):
        raise DamagedZip(f"the header of {name} is damaged")
    return offset + LOCAL.size + named + extra
