import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import class_folder, picture

from data_prep.prepare import prepare
from data_prep.sources import (
    SOURCES,
    DeclaredSource,
    DigitsSource,
    FractalSource,
    ImageSource,
    Source,
    Stored,
    WebdatasetSource,
)
from pipeline.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "images", {"train/cat": 3, "train/dog": 2, "test/cat": 1, "test/dog": 1})


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), st.integers(4, 12), st.floats(0, 0.4), st.floats(0, 0.4))
def test_facts_are_what_is_prepared(
    tmp_path_factory: pytest.TempPathFactory, classes: int, per_class: int, val: float, test: float
) -> None:
    source = FractalSource(
        image_size=16, classes=classes, per_class=per_class, val_share=val, test_share=test, points=256
    )
    dataset, _ = prepare(source, "f", tmp_path_factory.mktemp("facts"))
    facts = source.facts("f")
    assert facts.id.startswith("unprepared:")
    assert (dataset.samples, dataset.val_samples, dataset.test_samples, dataset.classes) == (
        facts.samples,
        facts.val_samples,
        facts.test_samples,
        facts.classes,
    )


def test_digits_are_real_and_cut_by_content(tmp_path: Path) -> None:
    source = DigitsSource(val_share=0.1)
    dataset, _ = prepare(source, "digits", tmp_path)
    facts = source.facts("digits")
    assert (dataset.samples, dataset.val_samples, dataset.test_samples) == (
        facts.samples,
        facts.val_samples,
        facts.test_samples,
    )
    assert dataset.samples + dataset.val_samples + dataset.test_samples == 1797


def test_the_fingerprint_moves_with_the_content(folder: Path) -> None:
    def fingerprint(**fields) -> str:
        return ImageSource(path=str(folder), **fields).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    assert fingerprint(samples=7, classes=2) == before
    assert fingerprint(image_size=64) != before
    (folder / "train" / "cat" / "new.jpg").write_bytes(picture(9))
    assert fingerprint() != before


def test_a_download_keeps_its_fingerprint_when_it_arrives(tmp_path: Path) -> None:
    source = ImageSource(path=str(tmp_path / "there"), download=True, torchvision="CIFAR10")
    before = source.fingerprint()
    (tmp_path / "there").mkdir()
    assert source.fingerprint() == before


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(BadInput, match="val_share"):
        Source(val_share=share)


def test_sources_are_structured_configs() -> None:
    from omegaconf import OmegaConf

    for kind in SOURCES.values():
        config = OmegaConf.structured(kind)
        config.order = "balanced"
        if kind is DeclaredSource:
            config.samples = 1
        built = OmegaConf.to_object(config)
        assert isinstance(built, kind)
        assert built.order.name == "balanced"


def test_a_declared_data_set_has_facts_and_no_images(tmp_path: Path) -> None:
    source = DeclaredSource(samples=303_000_000, classes=5, image_size=224, reason="it is private, take another")
    facts = source.facts("jft")
    assert (facts.samples, facts.classes, facts.image_size, facts.val_samples) == (303_000_000, 5, 224, 0)
    with pytest.raises(BadInput, match=r"only declared.*: it is private, take another"):
        prepare(source, "jft", tmp_path)
    assert source.fingerprint() == DeclaredSource(samples=303_000_000, classes=5, image_size=224).fingerprint()
    for samples, classes in ((0, 5), (10, -1)):
        with pytest.raises(BadInput, match="declared data set"):
            DeclaredSource(samples=samples, classes=classes)


def test_what_the_command_line_says_reaches_a_source() -> None:
    from pipeline.config import load

    words = ["data=table,torchvision,webdataset", "data.table.label_separator=|", "data.torchvision.dataset=DTD"]
    words += ["+data.torchvision.options.partition=2", "data.webdataset.train=s3://bucket/x-{000..127}.tar"]
    data = load(words).config.data
    assert data["table"].label_separator == "|"  # type: ignore[attr-defined]
    assert data["torchvision"].options == {"partition": 2}  # type: ignore[attr-defined]
    assert data["webdataset"].train == "s3://bucket/x-{000..127}.tar"  # type: ignore[attr-defined]
    assert data["torchvision"].fingerprint() != load(words[:3]).config.data["torchvision"].fingerprint()


def test_archives_indexed_in_place_cannot_be_stored_otherwise() -> None:
    with pytest.raises(BadInput, match="stored as they are"):
        WebdatasetSource(stored=Stored.square)


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_source_without_anything_is_one_sentence_or_data(kind: str) -> None:
    source = DeclaredSource(samples=1) if kind == "declared" else SOURCES[kind]()
    assert isinstance(source.fingerprint(), str)
    try:
        next(iter(source.records()))
    except BadInput as error:
        assert str(error).endswith(".")  # noqa: PT017


def test_planning_with_any_source_loads_nothing_heavy() -> None:
    heavy = ("torch", "torchvision", "pandas", "pyarrow")
    code = f"import sys, data_prep.sources\nprint([m for m in {heavy} if m in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
