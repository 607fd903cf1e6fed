import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import zipscan
from data_prep.zipscan import DamagedZip, ZipMember


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zips") / "x.zip"


def scanned(data: bytes, path: Path) -> list[ZipMember]:
    path.write_bytes(data)
    with path.open("rb") as file:
        return list(zipscan.members(file.fileno()))


def made(names: list[str], compression: int = zipfile.ZIP_STORED, before: bytes = b"", comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    buffer.write(before)
    with zipfile.ZipFile(buffer, "a", compression) as archive:
        archive.comment = comment
        for name in names:
            archive.writestr(name, f"content of {name}".encode("utf-8", "replace"))
    return buffer.getvalue()


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1),
    max_size=5,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from([0, 8]), st.binary(max_size=30), st.binary(max_size=30))
def test_it_finds_what_zipfile_finds(path: Path, names: list[str], method: int, before: bytes, comment: bytes) -> None:
    data = made(names, method, before, comment)
    found = scanned(data, path)
    with zipfile.ZipFile(path) as archive:
        assert [(m.name, m.packed, m.size, m.crc, m.deflated) for m in found] == [
            (i.filename, i.compress_size, i.file_size, i.CRC, i.compress_type == 8) for i in archive.infolist()
        ]
        for member, info in zip(found, archive.infolist(), strict=True):
            if not member.deflated:
                assert data[member.offset : member.offset + member.packed] == archive.read(info)


def test_more_entries_than_one_piece(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipscan, "PIECE", 100)
    monkeypatch.setattr(zipscan, "LONGEST_ENTRY", 80)
    names = [f"{i:03d}.jpg" for i in range(200)]
    assert [m.name for m in scanned(made(names), path)] == names


def test_zip64(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = made(["aaaa", "bbbb", "cccc"])
    assert b"PK\6\6" in data
    assert [(m.name, m.size) for m in scanned(data, path)] == [(n, 15) for n in ("aaaa", "bbbb", "cccc")]
    with pytest.raises(DamagedZip, match="end is damaged"):
        scanned(data.replace(b"PK\6\6", b"PK\6\5"), path)


@pytest.mark.parametrize("size", [0, 1, 21, 22, 60])
def test_what_is_no_zip_or_cut_off(path: Path, size: int) -> None:
    with pytest.raises(DamagedZip):
        scanned(made(["a", "b"])[:-size] if size else b"", path)


@pytest.mark.parametrize(
    ("signature", "offset", "form", "value", "said"),
    [
        (b"PK\1\2", 8, "<H", 1, "a is encrypted"),
        (b"PK\1\2", 10, "<H", 14, "method 14"),
        (b"PK\1\2", 46, "<B", ord("z"), "the header of z is damaged"),
        (b"PK\1\2", 20, "<L", 5000, "the size of a is damaged"),
        (b"PK\1\2", 42, "<L", 5000, "the header of a is damaged"),
        (b"PK\1\2", 28, "<H", 9000, "directory"),
        (b"PK\1\2", 24, "<L", 2**32 - 1, "directory is damaged"),
        (b"PK\5\6", 8, "<2H", 1, "one of several parts"),
        (b"PK\5\6", 12, "<L", 40, "directory"),
        (b"PK\5\6", 16, "<L", 4000, "does not lie where"),
    ],
)
def test_a_directory_that_lies(path: Path, signature: bytes, offset: int, form: str, value: int, said: str) -> None:
    arguments = (value, 2) if form == "<2H" else (value,)
    data = made(["a", "b"])
    place = data.index(signature) + offset
    packed = struct.pack(form, *arguments)
    with pytest.raises(DamagedZip, match=said):
        scanned(data[:place] + packed + data[place + len(packed) :], path)


def test_fewer_entries_than_the_directory_holds(path: Path) -> None:
    data = made(["a", "b"])
    place = data.index(b"PK\5\6") + 8
    with pytest.raises(DamagedZip, match="holds more than its end says"):
        scanned(data[:place] + struct.pack("<2H", 1, 1) + data[place + 4 :], path)
