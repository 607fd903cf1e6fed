import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.pack import END
from data_prep.sources import WebdatasetSource
from data_prep.sources.places import braced, expand
from pipeline.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train-000.tar", "train-001.tar", "train-010.tar", "val-0.tar", "notes.txt"):
        (tmp_path / name).write_bytes(END)
    return tmp_path


def names(places: list[str]) -> list[str]:
    return [os.path.basename(place) for place in places]


def test_files_folders_patterns_and_braces(folder: Path) -> None:
    train = ["train-000.tar", "train-001.tar", "train-010.tar"]
    assert names(expand(str(folder))) == [*train, "val-0.tar"]
    assert names(expand(f"{folder}/train-*.tar")) == train
    assert names(expand(f"{folder}/train-{{000..001}}.tar")) == train[:2]
    assert names(expand(f"{folder}/train-{{010,000}}.tar")) == [train[2], train[0]]
    assert expand(f"{folder}/val-0.tar") == [str(folder / "val-0.tar")]


def test_relative_paths_become_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert expand("val-0.tar") == [str(folder / "val-0.tar")]


def test_urls_are_not_asked_for_when_they_name_every_archive() -> None:
    assert expand("s3://bucket/x-{08..10}.tar") == [f"s3://bucket/x-{n}.tar" for n in ("08", "09", "10")]
    assert expand("https://host/x.tar?key=1") == ["https://host/x.tar?key=1"]


def test_urls_with_a_pattern_are_listed() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("b", "a"):
        system.pipe(f"/listed/{name}.tar", END)
    system.pipe("/listed/notes.txt", END)
    assert (
        expand("memory://listed/*.tar")
        == expand("memory://listed/")
        == ["memory:///listed/a.tar", "memory:///listed/b.tar"]
    )


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 4))
def test_braces_count(first: int, more: int, width: int) -> None:
    found = braced(f"a{{{first:0{width}d}..{first + more}}}b{{x,y}}")
    assert found == [f"a{n:0{max(width, len(str(first)))}d}b{e}" for n in range(first, first + more + 1) for e in "xy"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere.tar", "is no .tar file"),
        ("nowhere-*.tar", "is no .tar file"),
        ("x{5..3}.tar", "counts down"),
        ("x{5}.tar", "neither {000..127} nor"),
        ("https://host/x-*.tar", "by braces"),
        ("https://host/folder/", "by braces"),
        ("memory://empty/*.tar", "no archive fits"),
        ("nosuch://host/*.tar", "cannot be listed"),
        ("s3://bucket/x.tar.gz", "is compressed"),
    ],
)
def test_places_that_will_not_do(place: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        expand(place)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shards_in_a_fixed_order(folder: Path) -> None:
    source = WebdatasetSource(test=str(folder / "val-0.tar"), train=f"{folder}/train-*.tar")
    shards = source.shards()
    assert [split for split, _ in shards] == ["train", "train", "train", "test"]
    assert shards == source.shards()
    with pytest.raises(BadInput, match="indexed where they lie"):
        source.records()


def test_an_archive_named_twice_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"val-0\.tar is named twice, for train and val"):
        WebdatasetSource(train=str(folder), val=str(folder / "val-0.tar")).shards()
    with pytest.raises(BadInput, match=r"data\.NAME\.train"):
        WebdatasetSource(val=str(folder)).shards()


def test_the_fingerprint_moves_with_the_archives_here(folder: Path) -> None:
    def fingerprint(**fields: Any) -> str:
        return WebdatasetSource(**{"train": str(folder), **fields}).fingerprint()

    before = fingerprint()
    assert fingerprint() == before == fingerprint(classes=3, samples=5)
    assert fingerprint(label_key="txt") != before
    (folder / "train-000.tar").write_bytes(END + END)
    assert fingerprint() != before
    assert fingerprint(train="s3://bucket/{0..1}.tar") != fingerprint(train="s3://bucket/{0..2}.tar")
    (folder / "names.txt").write_text("cat\ndog\n")
    one = fingerprint(class_names=str(folder / "names.txt"))
    (folder / "names.txt").write_text("cat\nbird\n")
    assert one != fingerprint(class_names=str(folder / "names.txt"))


def test_class_names(folder: Path) -> None:
    def keys(text: bytes) -> tuple[str, ...]:
        (folder / "names.txt").write_bytes(text)
        return tuple(WebdatasetSource(train=str(folder), class_names=str(folder / "names.txt")).keys().names)

    assert keys("cat\n café \n\n".encode()) == ("cat", "café")
    for text, said in ((b"", "every class once"), (b"cat\ncat\n", "every class once"), (b"\xff", "no UTF-8")):
        with pytest.raises(BadInput, match=said):
            keys(text)
    with pytest.raises(BadInput, match="nowhere does not exist"):
        WebdatasetSource(train=str(folder), class_names="nowhere").keys()


def test_what_is_absent(folder: Path) -> None:
    assert WebdatasetSource().is_absent()
    assert WebdatasetSource(train="nowhere-*.tar").is_absent()
    assert WebdatasetSource(train=str(folder), val="nowhere").is_absent()
    assert not WebdatasetSource(train=f"{folder}/train-{{000..001}}.tar").is_absent()
    assert not WebdatasetSource(train="s3://bucket/x.tar").is_absent()


@pytest.mark.parametrize("key", ["", "json:"])
def test_a_label_must_have_a_key(key: str) -> None:
    with pytest.raises(BadInput, match="label_key"):
        WebdatasetSource(label_key=key)
