import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.fractal import FILL, Category, _density, category, render
from data_prep.sources import FractalSource
from pipeline.errors import BadInput

POINTS = 1024


def drawn(
    categories: list[Category], labels: list[int], instances: list[int], size: int = 32, seed: int = 0
) -> np.ndarray:
    return render(categories, np.array(instances), np.array(labels), seed, size, POINTS)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 500), st.integers(0, 10_000))
def test_an_image_does_not_depend_on_its_batch(seed: int, index: int, instance: int) -> None:
    systems = [category(seed, index, 16), category(seed, index + 1, 16)]
    alone = drawn(systems, [0], [instance], 16, seed)
    batch = drawn(systems, [1, 0, 1], [3, instance, instance], 16, seed)
    assert np.array_equal(alone[0], batch[1])


def test_the_same_seed_gives_the_same_bytes_for_ever() -> None:
    systems = [category(0, i, 32) for i in range(4)]
    images = drawn(systems, [0, 1, 2, 3], [0, 1, 2, 3])
    means = images.reshape(4, -1).mean(axis=1)
    assert means == pytest.approx(GOLDEN, abs=1e-9)


GOLDEN = [16.859700520833332, 23.249674479166668, 40.296549479166664, 10.213541666666666]


@pytest.mark.parametrize("closeness", [0.0, 0.7])
def test_categories_fill_enough_of_the_image(closeness: float) -> None:
    for index in range(20):
        system = category(3, index, 32, closeness)
        density = _density(system.maps.reshape(1, -1, 6), system.weights[None], 32, 8 * 32 * 32)
        assert (density > 0).mean() >= FILL


@pytest.mark.parametrize("size", [8, 32, 96])
def test_any_size_and_no_empty_image(size: int) -> None:
    systems = [category(1, i, size) for i in range(5)]
    images = drawn(systems, [i % 5 for i in range(20)], list(range(20)), size)
    assert images.shape == (20, size, size, 3)
    assert images.dtype == np.uint8
    assert ((images.sum(axis=3) > 0).mean(axis=(1, 2)) > 0.02).all()


def test_instances_of_a_category_are_alike_but_not_equal() -> None:
    """A nearest neighbour in shape, over the four mirror images, finds the category far above chance."""
    systems = [category(0, i, 32) for i in range(8)]
    labels = np.repeat(np.arange(8), 12)
    shapes = (drawn(systems, labels.tolist(), list(range(12)) * 8).sum(axis=3) > 0).astype(np.float64)
    assert len(np.unique(shapes.reshape(96, -1), axis=0)) > 90
    known, asked = np.arange(96) % 12 < 8, np.arange(96) % 12 >= 8
    mirrored = [shapes[known][:, ::dy, ::dx].reshape(known.sum(), -1) for dy in (1, -1) for dx in (1, -1)]
    likeness = np.max(
        [shapes[asked].reshape(asked.sum(), -1) @ m.T / np.linalg.norm(m, axis=1) for m in mirrored], axis=0
    )
    right = labels[known][likeness.argmax(axis=1)] == labels[asked]
    assert right.mean() > 0.5


def test_closeness_brings_siblings_together() -> None:
    def spread(closeness: float) -> float:
        means = [
            drawn([category(0, i, 32, closeness)], [0] * 16, list(range(16))).astype(np.float64).mean(axis=(0, 3))
            for i in range(6)
        ]
        return float(np.mean([np.abs(a - b).mean() for a in means for b in means]))

    assert spread(0.9) < spread(0.0)


def test_the_default_set_takes_seconds() -> None:
    """2,000 images of 32 px per second of one core: a loose floor for a busy machine; about 9,000 on a quiet one."""
    systems = [category(0, i, 32) for i in range(64)]
    labels = np.arange(1024) % 64
    began = time.process_time()
    for start in range(0, 1024, 64):
        render(systems, np.arange(64), labels[start : start + 64], 0, 32, 2048)
    assert 1024 / (time.process_time() - began) > 2000


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"classes": 0}, "classes"),
        ({"closeness": 1.0}, "closeness"),
        ({"seed": -1}, "seed"),
        ({"image_size": 0}, "size"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, int], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        FractalSource(**fields)  # type: ignore[arg-type]
