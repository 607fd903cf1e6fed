"""Decoded early or to the end, the rows above are the same."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.decoders import DECODERS, Decoder
from pipeline.data.jpeg import ended_early
from pipeline.placement import Backend


def jpeg(high: int, wide: int, mode: str = "RGB", **options: object) -> bytes:
    """Noise on a gradient."""
    y, x = np.mgrid[:high, :wide]
    noise = np.random.default_rng(high * wide).integers(0, 60, (high, wide, 3))
    pixels = (noise + np.stack([y, x, y + x], 2)) % 256
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@settings(max_examples=60, deadline=None)
@given(
    high=st.integers(1, 150),
    wide=st.integers(1, 90),
    share=st.floats(0, 1),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.sampled_from([40, 90, 98]),
    restart=st.sampled_from([0, 1, 3]),
)
def test_rows_above_are_the_same(
    high: int, wide: int, share: float, mode: str, subsampling: str, quality: int, restart: int
) -> None:
    data = jpeg(high, wide, mode, subsampling=subsampling, quality=quality, restart_marker_rows=restart)
    rows = max(1, round(share * high))
    early = ended_early(data, (high, wide), rows)
    if early is None:
        assert rows + 17 > high
        return
    assert rows < pixels(early).shape[0] <= rows + 17
    assert np.array_equal(pixels(early)[:rows], pixels(data)[:rows])


@pytest.mark.parametrize("backend", list(Backend))
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "restart_marker_rows": 2}])
def test_a_decoder_reads_a_box_as_if_it_had_decoded_all(
    backend: Backend, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in DECODERS[backend].needs:
        pytest.importorskip(name)
    decoder = DECODERS[backend]()
    data = jpeg(240, 100, **options)
    whole = decoder.pixels(data)
    for side in (8, 48):
        for high in range(1, 220, 3):
            cut, out = np.empty((2, side, side, 3), np.uint8)
            decoder.square(whole, (9, 5, high, 60), cut)
            decoder.read(data, (240, 100), (9, 5, high, 60), out)
            assert np.array_equal(cut, out)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_end_early_is_left_alone() -> None:
    data = jpeg(120, 100)
    assert ended_early(data, (120, 100), 20) is not None
    assert ended_early(data, (120, 100), 112) is None
    assert ended_early(data, (100, 120), 20) is None
    assert ended_early(jpeg(120, 100, progressive=True), (120, 100), 20) is None
    for k in range(0, 700, 7):
        assert ended_early(data[:k], (120, 100), 20) is None or k > 600


def test_a_wrong_size_is_noticed() -> None:
    with pytest.raises(ValueError, match="100 x 120 pixels"):
        Decoder().read(jpeg(120, 100), (120, 99), (0, 0, 9, 9), np.empty((8, 8, 3), np.uint8))
