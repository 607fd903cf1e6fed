"""What is stored of an image: the square, the original, or a short side."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from PIL import Image

from data_prep import encode as encoding
from data_prep.encode import Form, Unreadable, encode
from data_prep.sources import Stored

SQUARE = Form(Stored.square, 32, 256, 90)
ORIGINAL = Form(Stored.original, 32, 256, 90)
SHORT = Form(Stored.short_side, 32, 48, 90)
TURNED = 0x0112


def pixels(data: bytes) -> np.ndarray:
    """As a reader sees them."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def fitted(image: bytes | np.ndarray, form: Form = SQUARE) -> np.ndarray:
    return pixels(encode(image, form).data)


def saved(image: Image.Image, form: str, **values: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **values)
    return buffer.getvalue()


def turned(form: str, **values: Any) -> tuple[bytes, np.ndarray]:
    """An image shown turned by 90 degrees clockwise, and how it looks."""
    smooth = np.add.outer(np.arange(64), np.arange(40))[..., None] * np.array([1, 2, 1]) % 256
    exif = Image.Exif()
    exif[TURNED] = 6
    image = Image.fromarray(smooth.astype(np.uint8))
    return saved(image, form, exif=exif, **values), np.rot90(np.asarray(image), -1)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("form", [SQUARE, ORIGINAL, SHORT])
def test_jpeg_bytes_that_fit_are_kept(mode: str, form: Form) -> None:
    data = picture(0, mode=mode)
    stored = encode(data, form)
    assert (stored.data, stored.extension, stored.width, stored.height) == (data, "jpg", 32, 32)


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["RGB", "L"]), st.booleans(), st.sampled_from([0, 2]))
def test_the_fast_way_gives_the_pixels_of_the_slow(
    width: int, height: int, mode: str, progressive: bool, subsampling: int
) -> None:
    data = picture(width, (width, height), mode, progressive=progressive, subsampling=subsampling)
    fast = encode(data, ORIGINAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "plain_pixels", lambda data, fits: None)
        assert encode(data, ORIGINAL) == fast
    assert np.array_equal(np.asarray(fast.image), pixels(data))


def test_arrays_are_kept_lossless() -> None:
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for form in (SQUARE, ORIGINAL):
        assert np.array_equal(fitted(array, form), array)
    assert np.array_equal(fitted(array[..., 0]), np.repeat(array[..., :1], 3, axis=2))


def test_28_pixels_are_padded_to_32() -> None:
    image = fitted(np.full((28, 28), 200, dtype=np.uint8))
    assert (image[2:30, 2:30] == 200).all()
    assert image.sum() == 28 * 28 * 3 * 200


@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (31, 100), (300, 200), (1, 1)])
def test_any_shape_becomes_the_square(shape: tuple[int, int]) -> None:
    assert fitted(picture(0, shape, form="PNG")).shape == (32, 32, 3)


FOREIGN = [("RGBA", "PNG"), ("CMYK", "JPEG"), ("L", "PNG"), ("RGB", "GIF"), ("RGB", "WEBP"), ("RGB", "TIFF")]


@pytest.mark.parametrize(("mode", "form"), FOREIGN)
def test_every_mode_becomes_rgb(mode: str, form: str) -> None:
    assert fitted(picture(0, (40, 40), mode, form)).shape == (32, 32, 3)
    assert fitted(picture(0, (40, 60), mode, form), SHORT).shape == (60, 40, 3)
    assert fitted(picture(0, (40, 60), mode, form), ORIGINAL).shape == (60, 40, 3)


@pytest.mark.parametrize("stored", list(Stored))
def test_transparent_is_black_and_sixteen_bits_keep_their_range(stored: Stored) -> None:
    form = Form(stored, 32, 32, 90)
    assert fitted(saved(Image.new("RGBA", (32, 32), (255, 255, 255, 0)), "PNG"), form).max() == 0
    deep = Image.fromarray(np.full((32, 32), 65535, dtype=np.uint16))
    assert fitted(saved(deep, "PNG"), form).min() >= 254


@pytest.mark.parametrize("stored", list(Stored))
def test_exif_rotation_is_applied_even_when_the_size_fits(stored: Stored) -> None:
    data, shown = turned("PNG")
    image = fitted(data, Form(stored, 64, 64, 100))
    assert np.abs(image.astype(int) - (shown if stored is not Stored.square else image)).mean() < 3
    assert image.shape[:2] == ((64, 64) if stored is Stored.square else (40, 64))


def test_an_original_that_was_lossy_stays_jpeg_and_any_other_becomes_png() -> None:
    for form, extension in (("JPEG", "jpg"), ("WEBP", "jpg"), ("PNG", "png"), ("TIFF", "png")):
        data, shown = turned(form)
        stored = encode(data, ORIGINAL)
        assert (stored.extension, stored.width, stored.height) == (extension, 64, 40)
        assert np.abs(pixels(stored.data).astype(int) - shown).mean() < 4
        assert stored.data != data


def test_an_original_of_sixteen_bits_a_channel_becomes_eight() -> None:
    """Readers disagree about what to do with it; made by hand, as Pillow writes none."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([200, 7] * 3 * 32)) * 32
    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    for form in (SQUARE, ORIGINAL):
        stored = encode(data, form)
        assert stored.data != data
        assert (pixels(stored.data) == 200).all()


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_a_short_side_is_never_enlarged_and_keeps_the_aspect(width: int, height: int) -> None:
    stored = encode(saved(Image.new("RGB", (width, height)), "PNG"), SHORT)
    assert stored.extension == "jpg"
    assert pixels(stored.data).shape[:2] == (stored.height, stored.width)
    scale = min(1, 48 / min(width, height))
    assert abs(stored.width - width * scale) <= 0.5 and abs(stored.height - height * scale) <= 0.5


def test_a_short_side_is_antialiased_also_from_a_scaled_decode() -> None:
    """A photo of ten times the size, decoded at a reduced scale, against the whole decode."""
    wave = 127 + 60 * np.sin(np.arange(800) / 40)[:, None] + 60 * np.cos(np.arange(600) / 25)[None]
    photo = Image.fromarray(np.repeat(wave[..., None], 3, axis=2).astype(np.uint8))
    whole = np.asarray(photo.resize((48, 64), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(fitted(saved(photo, "JPEG", quality=95), SHORT) - whole).mean() < 3


def test_the_quality_is_the_one_asked_for() -> None:
    data = picture(0, (200, 100))
    sizes = [len(encode(data, Form(Stored.short_side, 32, 64, quality)).data) for quality in (30, 60, 90)]
    assert sizes == sorted(sizes)
    with Image.open(io.BytesIO(encode(data, SHORT).data)) as image:
        assert image.layer[0][1:3] == (2, 2)  # type: ignore[attr-defined]  # 4:2:0


def test_equal_pixels_have_equal_content_however_they_came() -> None:
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    ways = [array, saved(Image.fromarray(array), "PNG"), saved(Image.fromarray(array), "BMP")]
    for form in (SQUARE, ORIGINAL, SHORT):
        assert len({encode(way, form).content for way in ways}) == 1


@pytest.mark.parametrize("cut", [0, 3, 200, 700])
@pytest.mark.parametrize("form", [SQUARE, ORIGINAL, SHORT])
def test_an_unreadable_image_says_why(cut: int, form: Form) -> None:
    with pytest.raises(Unreadable, match=r"(?i)unknown format|truncated"):
        encode(picture(0)[:cut], form)


def test_a_side_that_the_index_cannot_hold_is_refused() -> None:
    with pytest.raises(Unreadable, match="70,000 pixels"):
        encode(saved(Image.new("L", (70_000, 1)), "PNG"), ORIGINAL)
