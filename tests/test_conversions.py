import io

import numpy as np
import pytest
from pictures import picture
from PIL import Image

from data_prep.encode import Encoded, Form, Unreadable, encode
from data_prep.sources import Stored


def stored(image: bytes | np.ndarray, size: int = 32) -> Encoded:
    return encode(image, Form(Stored.square, size, 256, 90))


def fitted(image: bytes | np.ndarray, size: int = 32) -> np.ndarray:
    kept = stored(image, size)
    return np.asarray(Image.open(io.BytesIO(kept.data)).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_bytes_that_fit_are_kept(mode: str) -> None:
    data = picture(0, mode=mode)
    kept = stored(data, 32)
    assert (kept.data, kept.extension) == (data, "jpg")


def test_arrays_are_kept_lossless() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(fitted(pixels), pixels)
    assert np.array_equal(fitted(pixels[..., 0]), np.repeat(pixels[..., :1], 3, axis=2))


def test_28_pixels_are_padded_to_32() -> None:
    pixels = np.full((28, 28), 200, dtype=np.uint8)
    image = fitted(pixels)
    assert (image[2:30, 2:30] == 200).all()
    assert image.sum() == 28 * 28 * 3 * 200


@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (31, 100), (300, 200), (1, 1)])
def test_any_shape_becomes_the_square(shape: tuple[int, int]) -> None:
    assert fitted(picture(0, shape, form="PNG")).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("mode", "form"), [("RGBA", "PNG"), ("CMYK", "JPEG"), ("L", "PNG"), ("RGB", "GIF"), ("RGB", "WEBP")]
)
def test_every_mode_becomes_rgb(mode: str, form: str) -> None:
    assert fitted(picture(0, (40, 40), mode, form)).shape == (32, 32, 3)


def test_transparent_is_black_and_sixteen_bits_keep_their_range() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (32, 32), (255, 255, 255, 0)).save(buffer, "PNG")
    assert fitted(buffer.getvalue()).max() == 0
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32), 65535, dtype=np.uint16)).save(buffer, "PNG")
    assert fitted(buffer.getvalue()).min() == 255


def test_exif_rotation_is_applied_even_when_the_size_fits() -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    assert np.array_equal(fitted(buffer.getvalue()), np.rot90(pixels, -1))


@pytest.mark.parametrize("cut", [0, 3, 200, 700])
def test_an_unreadable_image_is_named(cut: int) -> None:
    with pytest.raises(Unreadable):
        stored(picture(0)[:cut])
