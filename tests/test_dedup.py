import io
import tarfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.dedup import KINDS, thumbnails
from data_prep.dedup import SIDE, Duplicate, duplicates, thumbnail
from pipeline.errors import BadInput

BEYOND = {"half size, JPEG q50", "grey", "10 % off left and top"}
"""Changes that the method does not promise to see through."""


def texture(seed: int, side: int = 64) -> np.ndarray:
    """A colour image with the spectrum of photographs, amplitude in proportion to 1 / frequency."""
    noise = np.random.default_rng(seed).standard_normal((side, side, 3))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) / frequency[..., None], axes=(0, 1)).real
    return np.clip(128 + 40 * field / field.std(), 0, 255).astype(np.uint8)


def rounded(pairs: Iterable[Duplicate]) -> list[Duplicate]:
    """To what the sums of another block do not change."""
    return [pair._replace(similarity=round(pair.similarity, 9)) for pair in pairs]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [Image.fromarray(texture(seed)) for seed in range(100)]


@pytest.fixture(scope="module")
def tests(images: list[Image.Image]) -> np.ndarray:
    return thumbnails(images)


@pytest.fixture(scope="module")
def others() -> np.ndarray:
    return thumbnails(Image.fromarray(texture(seed)) for seed in range(1000, 1150))


@pytest.fixture(scope="module")
def noisy(images: list[Image.Image]) -> np.ndarray:
    return thumbnails(KINDS["mirrored, JPEG q50"](image) for image in images)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - BEYOND))
def test_planted_copies_are_found_and_nothing_else(
    kind: str, images: list[Image.Image], tests: np.ndarray, others: np.ndarray
) -> None:
    planted = [KINDS[kind](image) for image in images[:50]]
    found = duplicates(np.concatenate([thumbnails(planted), others]), tests)
    assert [pair[:2] for pair in found] == [(i, i) for i in range(50)]
    assert all(pair.mirrored == ("mirrored" in kind) for pair in found)


@pytest.mark.parametrize("kind", ["5 % off left and top", "5 % off every side"])
def test_a_test_image_may_be_the_trimmed_one(kind: str, images: list[Image.Image], tests: np.ndarray) -> None:
    found = duplicates(tests, thumbnails(KINDS[kind](image) for image in images))
    assert [pair[:2] for pair in found] == [(i, i) for i in range(len(images))]


def test_one_of_the_probes_is_near_a_trim_of_either_image(images: list[Image.Image], tests: np.ndarray) -> None:
    """Compared whole with whole, twelve of a hundred would not be proposed at this threshold."""
    trimmed = thumbnails(KINDS["5 % off every side"](image) for image in images)
    assert len(duplicates(trimmed, tests, proposed=0.9)) == len(duplicates(tests, trimmed, proposed=0.9)) == len(tests)


def test_flat_images_are_like_nothing() -> None:
    flat = np.stack([np.full((SIDE, SIDE, 3), shade, np.uint8) for shade in (0, 1, 127, 255)])
    coloured = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[:, None, None].repeat(SIDE, 1).repeat(SIDE, 2)
    grain = np.random.default_rng(0).integers(0, 3, (20, SIDE, SIDE, 3), dtype=np.uint8) + 100
    every = np.concatenate([flat, coloured, grain])
    assert duplicates(every, every) == []


def test_the_most_similar_test_image_is_named(images: list[Image.Image]) -> None:
    copies = thumbnails([KINDS["5 % off the left"](images[0]), images[0], images[1]])
    assert [pair[:2] for pair in duplicates(thumbnails([images[0]]), copies)] == [(0, 1)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 1.0), st.integers(0, 60))
def test_brightness_and_contrast_do_not_matter(seed: int, contrast: float, brightness: int) -> None:
    pixels = 20 + texture(seed) * 0.65
    changed = np.stack([thumbnail((contrast * pixels + brightness * (1 - contrast)).astype(np.uint8))])
    (pair,) = duplicates(changed, np.stack([thumbnail(pixels.astype(np.uint8))]))
    assert pair.similarity > 0.98


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_mirroring_both_changes_nothing_and_one_is_told(seed: int, left: bool, right: bool) -> None:
    original = np.stack([thumbnail(texture(seed))])
    mirrored = original[:, :, ::-1]
    (pair,) = duplicates(mirrored if left else original, mirrored if right else original)
    assert pair.similarity > 0.99
    assert pair.mirrored == (left != right)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.integers(0, 99))
def test_an_image_is_found_in_a_part_as_in_the_whole(noisy: np.ndarray, tests: np.ndarray, a: int, b: int) -> None:
    low, high = sorted((a, b))
    alone = rounded(pair._replace(upstream=pair.upstream + low) for pair in duplicates(noisy[low:high], tests))
    assert alone == rounded(pair for pair in duplicates(noisy, tests) if low <= pair.upstream < high)


def test_a_memory_map_is_read_in_blocks(
    noisy: np.ndarray, tests: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rounded(duplicates(noisy, tests))
    monkeypatch.setattr("data_prep.dedup.ROWS", 16)
    monkeypatch.setattr("data_prep.dedup.COLUMNS", 7)
    noisy.tofile(tmp_path / "thumbnails")
    mapped = np.memmap(tmp_path / "thumbnails", np.uint8, "r", shape=noisy.shape)
    assert rounded(duplicates(mapped, tests)) == whole
    assert len(whole) == len(noisy)


def test_of_many_alike_each_finds_its_own() -> None:
    """Trimmed, a copy is less like its original, before they are aligned, than some sibling is."""
    siblings = [Image.fromarray((0.88 * texture(0) + 0.12 * texture(seed)).astype(np.uint8)) for seed in range(1, 31)]
    copies = thumbnails(KINDS["5 % off left and top"](image) for image in siblings)
    assert [pair.test for pair in duplicates(copies, thumbnails(siblings))] == list(range(30))


def test_nothing_is_found_in_nothing(tests: np.ndarray) -> None:
    none = np.empty((0, SIDE, SIDE, 3), np.uint8)
    assert duplicates(none, tests) == duplicates(tests, none) == duplicates(none, none) == []


@pytest.mark.parametrize("wrong", [np.zeros((2, SIDE, SIDE, 3)), np.zeros((2, SIDE, SIDE), np.uint8)])
def test_other_arrays_are_refused(wrong: np.ndarray, tests: np.ndarray) -> None:
    with pytest.raises(BadInput, match=r"The upstream thumbnails are .* make them with"):
        duplicates(wrong, tests)
    with pytest.raises(BadInput, match="The test thumbnails"):
        duplicates(tests, wrong)


def test_a_thumbnail_is_the_mean_of_areas() -> None:
    pixels = texture(0, 4 * SIDE)
    mean = pixels.reshape(SIDE, 4, SIDE, 4, 3).mean(axis=(1, 3))
    assert np.abs(thumbnail(pixels) - mean).max() <= 1
    assert np.array_equal(thumbnail(Image.fromarray(pixels)), thumbnail(pixels))
    grey = thumbnail(pixels[..., 0])
    assert grey.shape == (SIDE, SIDE, 3) and (grey[..., :1] == grey).all()
    assert thumbnail(pixels[:8, :5]).shape == (SIDE, SIDE, 3)


def test_real_photos(shared_data: Path) -> None:
    """Of CIFAR-10's aeroplanes, many of them dark on a plain sky, copies are found and hardly anything else."""
    with tarfile.open(shared_data / "cifar10-jpeg.tar.gz") as archive:
        files = islice((member for member in archive if member.name.endswith(".jpg")), 1000)
        images = [Image.open(io.BytesIO(archive.extractfile(file).read())) for file in files]  # type: ignore[union-attr]
    tests, others = thumbnails(images[::2]), thumbnails(images[1::2])
    for kind in ("mirrored, JPEG q50", "5 % off every side"):
        found = duplicates(thumbnails(KINDS[kind](image) for image in images[::2]), tests)
        assert sum(pair.upstream == pair.test for pair in found) >= 498
    assert len(duplicates(others, tests)) <= 5
