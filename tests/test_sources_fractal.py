import json
import time

import numpy as np
import pytest
from pictures import array, drained

from data_prep.fractal import category, contents, draw, render
from data_prep.sources import FractalSource
from data_prep.sources.fractal import Drawn
from pipeline.errors import BadInput


@pytest.mark.parametrize(("closeness", "size"), [(0.0, 16), (0.8, 32)])
def test_images_are_drawn_where_they_are_read_and_are_the_same(closeness: float, size: int) -> None:
    source = FractalSource(classes=6, per_class=15, image_size=size, closeness=closeness, points=512)
    records = list(source.records())
    assert all(isinstance(record.image, Drawn) for record in records)
    assert [(r.label, r.origin) for r in records[14:16]] == [("00000", "fractal 0/14"), ("00001", "fractal 1/0")]
    images = np.stack([array(record) for record in drained(records)])
    categories = [category(0, c, size, closeness) for c in range(6)]
    label_N, instance_N = np.divmod(np.arange(90), 15)
    assert np.array_equal(images, render(categories, instance_N, label_N, 0, size, 512))
    assert isinstance(records[77].image, Drawn)
    assert np.array_equal(records[77].image.read(), images[77])


def test_a_virtual_set_is_drawn_from_plain_json() -> None:
    source = FractalSource(classes=6, per_class=15, closeness=0.8, points=512, virtual=True)
    drawing = json.loads(json.dumps(source.drawing()))
    label_N, instance_N, content_N = source.numbered(drawing)
    images = np.stack([array(record) for record in drained(source.records())])
    assert np.array_equal(draw(drawing, label_N, instance_N), images)
    assert np.array_equal(draw(drawing, label_N[::-7], instance_N[::-7]), images[::-7])
    assert draw(drawing, label_N[:0], instance_N[:0]).shape == (0, 32, 32, 3)
    assert len(np.unique(content_N)) == 90


def test_contents_name_what_decides_an_image_and_nothing_else() -> None:
    def named(**fields) -> np.ndarray:
        source = FractalSource(**{"classes": 3, "per_class": 4, "points": 256, **fields})
        return source.numbered(source.drawing())[2].reshape(-1, source.per_class)

    small = named()
    assert np.array_equal(named(classes=5, per_class=9)[:3, :4], small)
    assert np.array_equal(named(virtual=True, val_share=0.3), small)
    for change in ({"seed": 1}, {"image_size": 16}, {"points": 512}, {"closeness": 0.5}):
        assert not np.isin(named(**change), small).any()


def test_contents_do_not_collide() -> None:
    drawing = FractalSource(classes=2).drawing()
    label_N, instance_N = np.divmod(np.arange(2 * 2**20), 2**20)
    assert len(np.unique(contents(drawing, label_N, instance_N))) == 2 * 2**20


def test_ten_million_virtual_images_are_numbered_in_seconds() -> None:
    """About one second of a quiet core; the drawing, which searches the categories, takes a millisecond for each."""
    source = FractalSource(classes=100, per_class=100_000)
    drawing = source.drawing()
    began = time.process_time()
    assert len(source.numbered(drawing)[2]) == 10_000_000
    assert time.process_time() - began < 15


def test_virtual_is_part_of_the_fingerprint() -> None:
    assert FractalSource(virtual=True).fingerprint() != FractalSource().fingerprint()


def test_more_instances_than_there_are_random_numbers_for_are_refused() -> None:
    with pytest.raises(BadInput, match="per_class can be 1,048,576 at most"):
        FractalSource(per_class=2**20 + 1)


@pytest.mark.parametrize(
    ("size", "closeness", "golden"), [(16, 0.0, 111139960), (32, 0.8, 169231154), (48, 0.9, 278823242)]
)
def test_images_stay_what_they_were(size: int, closeness: float, golden: int) -> None:
    """A weighted sum of all bytes; the last bits of a logarithm may differ from machine to machine."""
    categories = [category(5, index, size, closeness) for index in range(12)]
    number_B = np.arange(24)
    images = render(categories, number_B * 7, number_B % 12, 5, size, 1024).astype(np.int64).ravel()
    assert (images * (np.arange(images.size) % 251)).sum() == pytest.approx(golden, rel=1e-6)
