import io
import os
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.pack import END, headers
from data_prep.tarscan import FILE, FOLDER, LINK, DamagedTar, Forward, Member, members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def scanned(data: bytes) -> list[Member]:
    """Both ways, by position and as a stream: they must agree."""

    def at(size: int, offset: int) -> bytes:
        return data[offset : offset + size]

    by_position = list(members(at, 0, len(data)))
    assert list(members(Forward(io.BytesIO(data)))) == by_position
    return by_position


def made(names: list[str], form: int = tarfile.USTAR_FORMAT, content: bytes = b"content") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def header(name: str, size: int) -> bytes:
    return headers([name], np.array([size]))[0].tobytes()


NAMES = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=150
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(names=NAMES, form=st.sampled_from(["gnu", "pax"]), content=st.binary(max_size=1100))
def test_it_finds_what_tarfile_finds(names: list[str], form: str, content: bytes) -> None:
    data = made(names, FORMATS[form], content)
    found = scanned(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [(m.name, m.offset, m.size) for m in found] == [
            (m.name, m.offset_data, m.size) for m in archive.getmembers()
        ]
    assert all(data[m.offset : m.offset + m.size] == content for m in found)


def test_kinds_and_prefixes() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.REGTYPE):
            member = tarfile.TarInfo(f"{'a' * 90}/{'b' * 90}")
            member.type, member.linkname = kind, "elsewhere"
            archive.addfile(member)
    found = scanned(buffer.getvalue())
    assert [m.kind for m in found] == [FOLDER, LINK, LINK, "other", FILE]
    assert {m.name.rstrip("/") for m in found} == {f"{'a' * 90}/{'b' * 90}"}


def test_numbers_too_large_for_octal_and_sums_of_signed_bytes() -> None:
    large = tarfile.TarInfo("large")
    large.size = 2**36
    with pytest.raises(DamagedTar, match="cut off within large"):
        scanned(large.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    old = bytearray(header("café", 0))
    signed = sum(b - 256 * (b > 127) for b in old[:148] + b" " * 8 + old[156:])
    old[148:156] = f"{signed:06o}\0 ".encode()
    assert [m.name for m in scanned(bytes(old) + END)] == ["café"]


def test_a_sum_of_adlers_modulus_wraps() -> None:
    """65,521 is Adler's modulus: a header whose bytes sum to it, or one less, is as good as any."""
    for rest in (65521, 65520, 65522):
        name = "\x7f" * 100
        block = bytearray(header(name, 0))
        block[345:500] = bytes([255]) * 155
        block[148:156] = b" " * 8
        missing = rest - sum(block)
        for place in range(265, 329):  # owner and group
            block[place] = min(255, max(0, missing))
            missing -= block[place]
        total = sum(block)
        block[148:156] = f"{total:06o}\0 ".encode()
        assert len(scanned(bytes(block) + END)) == 1


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_header_byte_is_seen(data: st.DataObject) -> None:
    tar = bytearray(made(["a", "b"]))
    place = data.draw(st.integers(0, 511)) + data.draw(st.sampled_from([0, 1024]))
    before = bytes(tar)
    tar[place] ^= data.draw(st.integers(1, 255))
    try:
        assert scanned(bytes(tar)) == scanned(before)  # in the checksum's own field, a space for a zero
    except DamagedTar as error:
        assert "damaged header" in str(error)  # noqa: PT017


@pytest.mark.parametrize("length", range(0, 4096 + 1024, 256))
def test_a_tar_that_is_cut_off_is_not_a_shorter_one(length: int) -> None:
    whole = made(["a", "b"], content=bytes(600) + b"x")
    ends = 2 * (512 + 1024)
    if length <= ends:
        with pytest.raises(DamagedTar):
            scanned(whole[:length])
    elif length >= ends + 512:
        assert len(scanned(whole[:length])) == 2


def test_what_cannot_be_read_in_place_or_follows_the_end_is_refused() -> None:
    sparse = bytearray(header("hole", 0))
    sparse[156:157] = b"S"
    sparse[148:156] = b" " * 8
    sparse[148:156] = f"{sum(sparse):06o}\0 ".encode()
    with pytest.raises(DamagedTar, match="sparse"):
        scanned(bytes(sparse) + END)
    pax = tarfile.TarInfo("x")
    pax.pax_headers = {"GNU.sparse.major": "1"}
    with pytest.raises(DamagedTar, match="sparse"):
        scanned(pax.tobuf(tarfile.PAX_FORMAT) + END)
    with pytest.raises(DamagedTar, match="follows its end block at byte 1536"):
        scanned(made(["a"])[:1536] + b"\1" + bytes(511))


def test_pax_headers_that_make_no_sense() -> None:
    pax = tarfile.TarInfo("x" * 200)
    whole = pax.tobuf(tarfile.PAX_FORMAT)
    start = whole.index(b"path=") - 4
    for broken in (b"999 ", b"9x9 ", b"000 ", b"    "):
        with pytest.raises(DamagedTar, match="PAX"):
            scanned(whole[:start] + broken + whole[start + 4 :] + END)
    with pytest.raises(DamagedTar, match="last header has no member"):
        scanned(whole[:1024] + END)


def test_it_is_fast(tmp_path: Path) -> None:
    """A loose floor for a busy machine; about 330,000 members a second of one core on a quiet one."""
    member = header("0000.jpg", 900) + bytes(1024)
    (tmp_path / "x.tar").write_bytes(member * 20_000 + END)
    descriptor = os.open(tmp_path / "x.tar", os.O_RDONLY)
    began = time.process_time()
    count = sum(1 for _ in members(partial(os.pread, descriptor), 0, os.fstat(descriptor).st_size))
    assert count / (time.process_time() - began) > 50_000
    os.close(descriptor)
