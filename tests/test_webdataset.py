"""The index of archives made elsewhere."""

import hashlib
import io
import json
import os
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from PIL import Image
from webdataset.compat import WebDataset
from webdataset.writer import TarWriter

from data_prep.index import ROW
from data_prep.pack import END, archive
from data_prep.webdataset import Keys, ShardIndex, index_shard, merged
from pipeline.errors import BadInput

Members = list[tuple[str, bytes]]


def tar(members: Members) -> bytes:
    return bytes(archive(members)[0])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards") / "x.tar"


def indexed(path: Path, members: Members | bytes, **keys: Any) -> ShardIndex:
    path.write_bytes(members if isinstance(members, bytes) else tar(members))
    return index_shard(path, Keys(**keys))


def refused(path: Path, members: Members | bytes, **keys: Any) -> str:
    with pytest.raises(BadInput) as caught:
        indexed(path, members, **keys)
    message = str(caught.value)
    assert "x.tar" in message
    assert "\n" not in message
    assert message[-1] == "."
    return message


def samples(count: int) -> Members:
    return [
        member
        for i in range(count)
        for member in ((f"d.x/{i:03d}.jpg", picture(i, (20 + i, 10))), (f"d.x/{i:03d}.cls", b"%d\n" % (i % 3)))
    ]


def test_rows_say_what_each_sample_is(path: Path) -> None:
    index = indexed(path, samples(5))
    assert index.rows.dtype == ROW
    assert [index.labels[code] for code in index.rows["label"]] == ["0", "1", "2", "0", "1"]
    assert (index.rows["width"].tolist(), index.rows["height"].tolist()) == ([20, 21, 22, 23, 24], [10] * 5)
    whole = path.read_bytes()
    assert (index.bytes, index.unconverted) == (len(whole), 0)
    for i, row in enumerate(index.rows):
        data = whole[row["offset"] : row["offset"] + row["size"]]
        assert data == picture(i, (20 + i, 10))
        assert row["crc"] == zlib.crc32(data)
        assert row["content"] == int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_finds_what_webdataset_finds(tmp_path: Path) -> None:
    """In archives that its own writer made, with members of other kinds beside, in folders, and in capitals."""
    path = tmp_path / "made.tar"
    with TarWriter(str(path)) as writer:
        for i in range(20):
            sample = {"__key__": f"a.b/c_{i:02d}", "jpg": picture(i), "cls": i % 7, "caption.txt": f"number {i}"}
            writer.write(sample)
    with tarfile.open(path, "a") as appended:
        for name, data in (("a.b/last.PNG", picture(20, form="PNG")), ("a.b/last.CLS", b"3"), ("README", b"no dot")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            appended.addfile(member, io.BytesIO(data))
    index = index_shard(path)
    whole = path.read_bytes()
    found = [(whole[row["offset"] :][: row["size"]], index.labels[row["label"]]) for row in index.rows]
    read: Any = WebDataset(str(path), shardshuffle=False, empty_check=False)
    assert found == [(sample.get("jpg") or sample["png"], sample["cls"].decode()) for sample in read]
    assert len(found) == 21


def test_labels_in_json(path: Path) -> None:
    values = ["cat", 7, ["cat", "dog", "cat"], [], [3]]
    members = [
        member
        for i, value in enumerate(values)
        for member in ((f"{i}.json", json.dumps({"y": value, "other": None}).encode()), (f"{i}.png", picture(i)))
    ]
    index = indexed(path, members, label="json:y")
    assert [index.labels[code] for code in index.rows["label"]] == ["cat", "7", ("cat", "dog"), (), ("3",)]
    named = indexed(path, members[2:4], label="json:y", names=[f"class {i}" for i in range(8)])
    assert named.labels == ["class 7"]


def test_names_of_classes_and_an_image_among_several(path: Path) -> None:
    members = [("a.rgb.jpg", picture(0)), ("a.mask.png", picture(1, (9, 9), form="PNG")), ("a.cls", b"1")]
    assert "several images, mask.png, rgb.jpg" in refused(path, members)
    index = indexed(path, members, image="mask.png", names=["cat", "dog"])
    assert (index.labels, index.rows["width"].tolist()) == (["dog"], [9])
    assert indexed(path, [*members[1:2], ("a.cls", b"cat")], names=["cat", "dog"]).labels == ["cat"]


def odd_pictures() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(deep, "PNG")
    upright = Image.Exif()
    upright[0x0112] = 1
    return {
        "turned.jpg": picture(0, exif=exif),
        "cmyk.jpg": picture(0, mode="CMYK"),
        "alpha.png": picture(0, mode="RGBA", form="PNG"),
        "deep.png": deep.getvalue(),
        "upright.jpg": picture(0, exif=upright),
        "grey.jpg": picture(0, mode="L"),
        "plain.webp": picture(0, form="WEBP"),
    }


def test_what_readers_would_have_to_convert_is_counted(path: Path) -> None:
    members = [m for name, data in odd_pictures().items() for m in ((name, data), (f"{name.split('.')[0]}.cls", b"1"))]
    assert indexed(path, members).unconverted == 4


A = [("a.jpg", picture(0)), ("a.cls", b"1")]
B = [("b.jpg", picture(1)), ("b.cls", b"2")]


@pytest.mark.parametrize(
    ("members", "keys", "said"),
    [
        ([*A, *B, *A], {}, "holds key a twice"),
        ([A[0], *B, A[1]], {}, "key a: it has no .cls but .jpg"),
        ([A[0], *A], {}, "holds a.jpg twice"),
        ([*A, B[0]], {}, "key b: it has no .cls but .jpg"),
        ([*A, B[1]], {}, "key b: it has no image but .cls"),
        ([*A, ("b.cls", b"")], {}, "key b: it has no image"),
        ([*A, B[0], ("b.cls", b" \n")], {}, "key b: its label is ''"),
        ([*A, B[0], ("b.cls", b"\xff")], {}, "key b: its .cls is damaged"),
        ([*A, ("b.jpg", b"no image"), B[1]], {}, "key b: its image is of no known format"),
        ([*A, ("b.jpg", b""), B[1]], {}, "key b: its image is of no known format"),
        ([*A, *B], {"names": ["zero", "one"]}, "key b: its label is '2', but there are 2 class names"),
        ([*A, *B], {"label": "txt"}, "key a: it has no .txt but .cls, .jpg"),
        ([*A, *B], {"label": "json:y"}, "key a: it has no .json"),
        ([A[0], ("a.json", b"{")], {"label": "json:y"}, "key a: its .json is damaged"),
        ([A[0], ("a.json", b"[" * 100_000)], {"label": "json:y"}, "key a: its .json is damaged"),
        ([A[0], ("a.json", b"[1]")], {"label": "json:y"}, "key a: its .json has no 'y'"),
        ([A[0], ("a.json", b'{"y": null}')], {"label": "json:y"}, "key a: its .json has no 'y'"),
        ([A[0], ("a.json", b'{"y": 1.5}')], {"label": "json:y"}, "key a: its label is 1.5"),
        ([A[0], ("a.json", b'{"y": [{}]}')], {"label": "json:y"}, "key a: its label is {}"),
        ([A[0], ("a.json", b'{"y": "\\ud800"}')], {"label": "json:y"}, "which is no text"),
        ([*A, ("../b.jpg", b""), ("../b.cls", b"1")], {}, "'../b.jpg', which points out"),
        ([*A, ("/b.jpg", b""), ("/b.cls", b"1")], {}, "'/b.jpg', which points out"),
    ],
)
def test_what_will_not_do_names_the_archive_and_the_key(
    path: Path, members: Members, keys: dict[str, Any], said: str
) -> None:
    assert said in refused(path, members, **keys)


def test_links_are_refused(path: Path) -> None:
    with tarfile.open(path, "w") as linked:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        linked.addfile(member)
    assert "a.jpg, a link or device" in refused(path, path.read_bytes())


def test_meta_members_and_folders_are_passed_over(path: Path) -> None:
    members = [("__meta__/a.jpg", b"x"), ("__index__.json", b"{}"), ("README", b"x"), (".hidden", b"x"), *A]
    assert len(indexed(path, members).rows) == 1
    assert len(indexed(path, []).rows) == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_cut_archive_is_refused_wherever_it_is_cut(path: Path, share: float) -> None:
    whole = tar(samples(5))
    cut = int(share * (len(whole) - len(END)))
    for length in (cut, cut - cut % 512):
        assert "it is cut off" in refused(path, whole[:length])
    edge = whole.index(b"d.x/003.jpg")
    assert "after key d.x/002: it is cut off" in refused(path, whole[:edge])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_gives_the_right_rows_or_one_sentence(path: Path, data: st.DataObject) -> None:
    """What lies in members has no checksum; there one image or one label may differ."""
    whole = tar([*A, *B])
    expected = indexed(path, whole)
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        found = index_shard(path)
    except BadInput:
        return
    assert found.rows["offset"].tolist() == expected.rows["offset"].tolist()
    same_bytes = found.rows["crc"] == expected.rows["crc"]
    same_label = [a == b for a, b in zip(found.labels, expected.labels, strict=False)]
    assert sum(~same_bytes) + sum(not same for same in same_label) <= 1


def test_archives_are_merged_by_their_labels(tmp_path: Path) -> None:
    parts = [indexed(tmp_path / "x.tar", members) for members in (A, B, [], [*B, *A])]
    rows, labels = merged(iter(parts))
    assert rows["shard"].tolist() == [0, 1, 3, 3]
    assert [labels[code] for code in rows["label"]] == ["1", "2", "2", "1"]
    assert sorted(labels) == ["1", "2"]
    assert [part.rows["shard"].tolist() for part in parts] == [[0], [0], [], [0, 0]]
    empty, none = merged([])
    assert (empty.dtype, len(empty), none) == (ROW, 0, [])


def test_it_is_fast(tmp_path: Path) -> None:
    """A loose floor for a busy machine; small images, so that hashing their bytes counts for little."""
    data = picture(0)
    members = [m for i in range(5000) for m in ((f"{i:06d}.jpg", data), (f"{i:06d}.cls", b"%d" % (i % 100)))]
    (tmp_path / "x.tar").write_bytes(tar(members))
    began = time.process_time()
    assert len(index_shard(tmp_path / "x.tar").rows) == 5000
    assert 5000 / (time.process_time() - began) > 5000


def test_it_is_closed_when_done(tmp_path: Path) -> None:
    indexed(tmp_path / "x.tar", A)
    assert not [f for f in os.listdir("/proc/self/fd") if _target(f).endswith("x.tar")]


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
