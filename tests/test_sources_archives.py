import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import accepted, archived, class_folder, drained, encoded, picture, refusal

from data_prep.sources import ImageSource, Record
from data_prep.sources.deferred import FileImage, Span, ZipSpan
from pipeline.errors import BadInput


def read(path: Path) -> list[Record]:
    return drained(ImageSource(path=str(path)).records())


def refused(path: Path) -> str:
    return refusal(ImageSource(path=str(path)).records)


def places(records: list[Record]) -> list[tuple[str, str]]:
    return sorted((r.split, str(r.label)) for r in records)


def zipped(folder: Path, path: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "images", {"train/cat": 3, "train/dog": 2, "test/cat": 1, "test/dog": 1})


EXPECTED = [("test", "cat"), ("test", "dog"), *[("train", "cat")] * 3, *[("train", "dog")] * 2]


def test_a_folder_and_its_archives_hold_the_same_images(folder: Path, tmp_path: Path) -> None:
    tars = [archived(folder, tmp_path / f"x.tar{end}", f"w:{end.strip('.')}") for end in ("", ".gz", ".xz", ".bz2")]
    zips = [zipped(folder, tmp_path / f"x{c}.zip", c) for c in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    images = {encoded(r) for r in read(folder)}
    for path in (folder, *tars, *zips):
        records = read(path)
        assert places(records) == EXPECTED
        assert {encoded(r) for r in records} == images


@pytest.mark.parametrize(("kind", "name"), [(FileImage, ""), (Span, "x.tar"), (ZipSpan, "x.zip")])
def test_what_can_be_read_in_place_is_not_read_here(folder: Path, tmp_path: Path, kind: type, name: str) -> None:
    archived(folder, tmp_path / "x.tar", "w:")
    zipped(folder, tmp_path / "x.zip")
    records = list(ImageSource(path=str(tmp_path / name if name else folder)).records())
    assert {type(record.image) for record in records} == {kind}
    read_alone = [record.image.read() for record in records]  # type: ignore[union-attr]
    assert read_alone == list(kind.read_all([record.image for record in records]))  # type: ignore[attr-defined]


def test_an_image_that_is_gone_or_shorter_when_it_is_read_is_named(folder: Path, tmp_path: Path) -> None:
    path = archived(folder, tmp_path / "x.tar", "w:")
    (first, *_), (span, *_) = (list(ImageSource(path=str(p)).records()) for p in (folder, path))
    (folder / "test" / "cat" / "0000.jpg").unlink()
    with pytest.raises(BadInput, match=r"test/cat/0000\.jpg does not exist"):
        first.image.read()  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(BadInput, match=r"x\.tar is shorter than it was"):
        span.image.read()  # type: ignore[union-attr]


def test_class_folders_without_splits_are_for_training(tmp_path: Path) -> None:
    assert places(read(class_folder(tmp_path / "x", {"cat": 1, "dog": 1}))) == [("train", "cat"), ("train", "dog")]


def test_linked_class_folders_are_followed_once(folder: Path) -> None:
    (folder / "train" / "again").symlink_to(folder, target_is_directory=True)
    assert places(read(folder)) == EXPECTED


def test_names_that_are_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "x", {"cat": 1})
    os.rename(folder / "cat", os.path.join(os.fsencode(folder), b"caf\xe9"))
    for path in (folder, archived(folder, tmp_path / "x.tar", "w:"), archived(folder, tmp_path / "x.tar.gz")):
        assert places(read(path)) == [("train", "café")]


def test_what_is_missing_or_misplaced_is_named(folder: Path, tmp_path: Path) -> None:
    assert "nowhere" in refused(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"data\.NAME\.path"):
        ImageSource().records()
    (tmp_path / "empty").mkdir()
    assert "holds no image" in refused(tmp_path / "empty")
    (folder / "train" / "bird").mkdir()
    assert "train/bird" in refused(folder)
    (folder / "train" / "bird").rmdir()
    (folder / "loose.jpg").write_bytes(picture(0))
    assert "loose.jpg" in refused(folder)
    (tmp_path / "text.tar").write_text("no archive")
    assert "text.tar" in refused(tmp_path / "text.tar")


def test_an_empty_class_in_an_archive_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "bird").mkdir()
    for path in (archived(folder, tmp_path / "x.tar.gz"), zipped(folder, tmp_path / "x.zip")):
        assert "train/bird" in refused(path)


def test_what_macos_adds_to_a_zip_is_ignored(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, data in (("cat/1.jpg", picture(0)), ("__MACOSX/", b""), ("__MACOSX/cat/._1.jpg", b"attributes")):
            archive.writestr(name, data)
    assert places(read(tmp_path / "x.zip")) == [("train", "cat")]


# ---- tars of tars ----


def tar_of_tars(folder: Path, path: Path, mode: str = "w:", inner: str = "w:") -> Path:
    """As ImageNet ships: one tar a class, its images at its root."""
    ending = ".tar" + "." * (inner[2:] != "") + inner[2:]
    with tarfile.open(path, mode) as outer:  # type: ignore[call-overload]
        for number in range(3):
            images = class_folder(folder / str(number), {"": number + 1})
            outer.add(archived(images, folder / f"n{number}{ending}", inner), f"n{number}{ending}")
    return path


@pytest.mark.parametrize("outer", ["w:", "w:gz"])
@pytest.mark.parametrize("inner", ["w:", "w:gz", "w:xz"])
def test_a_tar_of_tars_is_read_without_extracting(tmp_path: Path, outer: str, inner: str) -> None:
    (tmp_path / "made").mkdir()
    records = read(tar_of_tars(tmp_path / "made", tmp_path / "x.tar", outer, inner))
    assert places(records) == [("train", f"n{n}") for n in (0, 1, 1, 2, 2, 2)]
    assert [r.image for r in records] == [picture(i) for i in (0, 0, 1, 0, 1, 2)]


def test_a_folder_of_tars_and_a_tar_of_splits(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    tar_of_tars(tmp_path / "made", tmp_path / "unused.tar")
    (tmp_path / "folder" / "val").mkdir(parents=True)
    for number in range(2):
        os.rename(tmp_path / "made" / f"n{number}.tar", tmp_path / "folder" / "val" / f"n{number}.tar")
    assert places(read(tmp_path / "folder")) == [("val", "n0"), ("val", "n1"), ("val", "n1")]
    for split in ("train", "test"):
        archived(class_folder(tmp_path / split, {"cat": 1, "dog": 1}), tmp_path / "made" / f"{split}.tar", "w:")
    with tarfile.open(tmp_path / "x.tar", "w") as outer:
        for split in ("train", "test"):
            outer.add(tmp_path / "made" / f"{split}.tar", f"{split}.tar")
    assert places(read(tmp_path / "x.tar")) == [(s, c) for s in ("test", "train") for c in ("cat", "dog")]


def test_archives_beside_the_images_unpacked_from_them_do_not_count(folder: Path) -> None:
    archived(folder, folder / "images.tar", "w:")
    assert places(read(folder)) == EXPECTED


def test_tars_of_tars_that_cannot_be_trusted(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    path = tar_of_tars(tmp_path / "made", tmp_path / "x.tar")
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1].offset_data
    data = bytearray(path.read_bytes())
    data[second + 5] ^= 1
    path.write_bytes(data)
    assert "n1.tar: damaged header" in refused(path)
    with tarfile.open(path, "w") as outer:
        inner = tmp_path / "made" / "n1.tar"
        outer.addfile(tarfile.TarInfo("n0.tar"))
        outer.add(inner, "n1.tar")
    assert "n0.tar: it is cut off" in refused(path)
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with tarfile.open(path, "w") as outer:
        outer.add(tmp_path / "empty.tar", "n0.tar")
        outer.add(inner, "n1.tar")
    assert "Class folder n0 in" in refused(path)
    with tarfile.open(path, "w") as outer:
        outer.add(inner, "n1.tar")
        outer.add(tmp_path / "made" / "0" / "0000.jpg", "n1/0000.jpg")
    assert "images beside archives" in refused(path)
    (tmp_path / "again").mkdir()
    with tarfile.open(tmp_path / "deep.tar", "w") as outer:
        outer.add(tar_of_tars(tmp_path / "again", tmp_path / "y.tar"), "y.tar")
    assert "archive in an archive" in refused(tmp_path / "deep.tar")


# ---- damage ----


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.01, 0.95))
def test_a_truncated_archive_is_refused(tmp_path_factory: pytest.TempPathFactory, mode: str, share: float) -> None:
    """Wherever it is cut, at the edge of a member too; the padding after a tar's end block may go."""
    root = tmp_path_factory.mktemp("cut")
    whole = archived(class_folder(root / "x", {"a": 3, "b": 3}), root / "x.tar", mode).read_bytes()
    ends = len(whole.rstrip(b"\0")) if mode == "w:" else len(whole)
    cut = int(share * ends)
    for length in (cut, cut - cut % 512):
        (root / "cut.tar").write_bytes(whole[:length])
        refused(root / "cut.tar")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small archives of two images each, as bytes."""
    root = tmp_path_factory.mktemp("small")
    folder = class_folder(root / "x", {"a": 1, "b": 1}, (4, 4))
    paths = [
        archived(folder, root / "x.tar", "w:"),
        archived(folder, root / "x.tar.gz"),
        zipped(folder, root / "x.zip"),
    ]
    return {"".join(path.suffixes): path.read_bytes() for path in paths}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), ending=st.sampled_from([".tar", ".tar.gz", ".zip"]))
def test_any_changed_byte_gives_the_right_data_or_one_sentence(
    small: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str
) -> None:
    """A plain tar has no checksum over its contents: there an image may differ, which its decoder then sees."""
    path = tmp_path_factory.mktemp("changed") / f"x{ending}"
    path.write_bytes(small[ending])
    expected = read(path)
    changed = bytearray(small[ending])
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    found = accepted(ImageSource(path=str(path)).records)
    if found is not None:
        assert places(found) == places(expected)
        differing = sum(a.image != b.image for a, b in zip(found, expected, strict=True))
        assert differing <= (ending == ".tar")


@pytest.mark.parametrize("layout", ["class folders", "cifar"])
def test_one_flipped_byte_of_a_gzipped_archive_is_refused(tmp_path: Path, layout: str) -> None:
    """Stored, not deflated, so that the archive opens and only the checksum at its end knows."""
    if layout == "cifar":
        from trees import write_cifar

        folder = write_cifar(tmp_path)
        path = tmp_path / "cifar-10-python.tar.gz"
    else:
        folder = class_folder(tmp_path / "folder", {"a": 6, "b": 6})
        path = tmp_path / "flipped.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        archive.add(folder, folder.name)
    assert read(path)
    data = bytearray(path.read_bytes())
    image = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    data[data.index(image.read_bytes()[500:600]) + 50] ^= 1
    path.write_bytes(data)
    assert "is no whole archive (CRC check failed" in refused(path)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = archived(class_folder(tmp_path / "x", {"a": 3, "b": 3}), tmp_path / "x.tar", "w")
    with tarfile.open(path) as archive:
        third = archive.getmembers()[3].offset
    data = bytearray(path.read_bytes())
    data[third + 5] ^= 1
    path.write_bytes(data)
    assert "damaged header" in refused(path)


def test_a_tar_that_was_appended_to_another_is_not_lost(folder: Path, tmp_path: Path) -> None:
    one = archived(folder, tmp_path / "x.tar", "w:").read_bytes()
    (tmp_path / "two.tar").write_bytes(one + one)
    (tmp_path / "two.tar.gz").write_bytes(gzip.compress(one) + gzip.compress(one))
    for name in ("two.tar", "two.tar.gz"):
        assert "something follows its end block" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["../evil/x.jpg", "/evil/cat/x.jpg", "train/../../evil/x.jpg", "..\\evil\\x.jpg"])
def test_paths_out_of_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        member = tarfile.TarInfo(name)
        member.size = len(picture(0))
        tar.addfile(member, io.BytesIO(picture(0)))
        zipped.writestr(name, picture(0))
    for ending in ("tar", "zip"):
        assert "points out" in refused(tmp_path / f"x.{ending}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["cat/0000.jpg", "./cat//0000.jpg"])
def test_a_name_that_comes_twice_is_refused(tmp_path: Path, again: str) -> None:
    class_folder(tmp_path / "x", {"cat": 2, "dog": 1})
    for mode in ("w:", "w:gz"):
        path = tmp_path / "twice.tar"
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            archive.add(tmp_path / "x", "")
            archive.add(tmp_path / "x" / "dog" / "0000.jpg", again)
        assert "cat/0000.jpg twice" in refused(path)
    with zipfile.ZipFile(zipped(tmp_path / "x", tmp_path / "x.zip"), "a") as archive:
        archive.writestr(again, picture(0))
    assert "cat/0000.jpg twice" in refused(tmp_path / "x.zip")


def test_links_in_archives_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(1))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "cat/link.jpg"), (tarfile.LNKTYPE, "cat/hard.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(member)
        member = tarfile.TarInfo("cat/real.jpg")
        member.size = len(picture(0))
        archive.addfile(member, io.BytesIO(picture(0)))
    assert [r.image for r in read(tmp_path / "x.tar")] == [picture(0)]
    link = zipfile.ZipInfo("cat/link.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret.jpg"))
    assert "holds a link, cat/link.jpg" in refused(tmp_path / "x.zip")


@pytest.mark.skipif(os.name != "posix", reason="POSIX rights")
def test_without_permission_there_is_one_sentence(folder: Path) -> None:
    """As a user without rights; root may read everything."""
    (folder / "train" / "dog").chmod(0)
    code = (
        "import os, sys\n"
        "from data_prep.sources import ImageSource\n"
        "from pipeline.errors import BadInput\n"
        "import data_prep.sources.archives, data_prep.sources.cifar, data_prep.sources.idx\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: list(ImageSource(path=sys.argv[1]).records())\n"
        "except BadInput as error: print(error)\n"
    )
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    (folder / "train" / "dog").chmod(0o755)
    assert "train/dog cannot be read (permission denied)" in done.stdout, done.stderr
