"""One picture of each kind that people's data holds, and the pixels that preparing makes of it, however stored."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.encode import Form, encode
from data_prep.sources import Stored

FORMS = {
    Stored.square: Form(Stored.square, 32, 256, 90),
    Stored.original: Form(Stored.original, 32, 256, 90),
    Stored.short_side: Form(Stored.short_side, 32, 256, 95),
}
GREY = np.add.outer(np.arange(32) * 4, np.arange(32) * 3).astype(np.uint8)
"""Smooth, so that JPEG changes it little; different in all eight positions that EXIF knows."""
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
ALPHA = np.add.outer(np.arange(32) * 7, np.arange(32)).astype(np.uint8)
EXIF_ORIENTATION = 0x0112


def saved(image: Image.Image, form: str, **values: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **values)
    return buffer.getvalue()


def png(pixels: np.ndarray, colour_type: int, depth: int = 8, *more: tuple[bytes, bytes]) -> bytes:
    """By hand, for what Pillow does not write; ``more`` are chunks before the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2" if depth == 16 else "u1"))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2)


def over_black(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(pixels * (alpha[..., None] / 255.0)).astype(np.uint8)


def palette() -> Image.Image:
    image = Image.fromarray((GREY // 16).astype(np.uint8))
    image.putpalette([channel for i in range(16) for channel in (i * 16, 255 - i * 16, i * 8)])
    return image


def palette_pixels() -> np.ndarray:
    level = (GREY // 16).astype(int)
    return np.stack([level * 16, 255 - level * 16, level * 8], axis=2).astype(np.uint8)


def frames(form: str) -> bytes:
    others = [Image.fromarray(255 - COLOUR), Image.fromarray(COLOUR[::-1])]
    lossless = {"lossless": True} if form == "WEBP" else {}
    return saved(Image.fromarray(COLOUR), form, save_all=True, append_images=others, duration=50, **lossless)


WIDE = GREY.astype(np.uint16) * 257
DARK = GREY.astype(np.uint16)
"""Of 16 bits, but no value above 255: nearly black."""

EXACT: dict[str, tuple[Callable[[], bytes], Callable[[], np.ndarray]]] = {
    "grey": (lambda: saved(Image.fromarray(GREY), "PNG"), lambda: grey(GREY)),
    "one bit": (
        lambda: saved(Image.fromarray(GREY > 90), "PNG"),
        lambda: grey((GREY > 90).astype(np.uint8) * 255),
    ),
    "palette": (lambda: saved(palette(), "PNG"), palette_pixels),
    "palette with a colour that is transparent": (
        lambda: saved(palette(), "PNG", transparency=3),
        lambda: np.where((GREY // 16 == 3)[..., None], 0, palette_pixels()).astype(np.uint8),
    ),
    "grey with a level that is transparent": (
        lambda: saved(Image.fromarray(GREY), "PNG", transparency=90),
        lambda: grey(np.where(GREY == 90, 0, GREY).astype(np.uint8)),
    ),
    "colour with one that is transparent": (
        lambda: saved(Image.fromarray(COLOUR), "PNG", transparency=tuple(COLOUR[5, 5].tolist())),
        lambda: np.where((COLOUR[5, 5] == COLOUR).all(axis=2, keepdims=True), 0, COLOUR).astype(np.uint8),
    ),
    "grey and alpha": (
        lambda: saved(Image.fromarray(np.stack([GREY, ALPHA], axis=2), "LA"), "PNG"),
        lambda: over_black(grey(GREY), ALPHA),
    ),
    "colour and alpha": (
        lambda: saved(Image.fromarray(np.dstack([COLOUR, ALPHA])), "PNG"),
        lambda: over_black(COLOUR, ALPHA),
    ),
    "16-bit grey": (lambda: png(WIDE, 0, 16), lambda: grey(GREY)),
    "16-bit grey, nearly black": (lambda: png(DARK, 0, 16), lambda: grey(np.rint(DARK / 257).astype(np.uint8))),
    "16-bit colour": (lambda: png(COLOUR.astype(np.uint16) * 257, 2, 16), lambda: COLOUR),
    "16-bit grey TIFF": (lambda: saved(Image.fromarray(WIDE), "TIFF"), lambda: grey(GREY)),
    "grey TIFF of floats up to 1": (
        lambda: saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
        lambda: grey(GREY),
    ),
    "TIFF": (lambda: saved(Image.fromarray(COLOUR), "TIFF"), lambda: COLOUR),
    "BMP": (lambda: saved(Image.fromarray(COLOUR), "BMP"), lambda: COLOUR),
    "PPM": (lambda: saved(Image.fromarray(COLOUR), "PPM"), lambda: COLOUR),
    "lossless WebP": (lambda: saved(Image.fromarray(COLOUR), "WEBP", lossless=True), lambda: COLOUR),
    "animated PNG": (lambda: frames("PNG"), lambda: COLOUR),
    "animated WebP": (lambda: frames("WEBP"), lambda: COLOUR),
    "TIFF of several pages": (lambda: frames("TIFF"), lambda: COLOUR),
    "animated GIF": (
        lambda: saved(palette(), "GIF", save_all=True, append_images=[Image.fromarray(GREY)]),
        palette_pixels,
    ),
}


def pixels(data: bytes) -> np.ndarray:
    """As a reader sees them."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("stored", list(Stored))
@pytest.mark.parametrize("kind", list(EXACT))
def test_lossless_pictures(kind: str, stored: Stored) -> None:
    made, expected = EXACT[kind]
    found = pixels(encode(made(), FORMS[stored]).data).astype(int)
    difference = np.abs(found - expected().astype(int))
    if stored is Stored.short_side:
        assert difference.mean() < 8  # JPEG, and hard edges where a colour is transparent
    elif "WebP" in kind and stored is Stored.original:
        assert difference.mean() < 2  # it may have been lossy, so it becomes JPEG
    else:
        assert difference.max() <= (1 if "alpha" in kind else 0)


@pytest.mark.parametrize("stored", list(Stored))
@pytest.mark.parametrize(("ink", "colour"), [((0, 0, 0, 0), 255), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), 0)])
def test_cmyk(ink: tuple[int, ...], colour: Any, stored: Stored) -> None:
    data = saved(Image.new("CMYK", (32, 32), ink), "JPEG", quality=100)
    assert np.abs(pixels(encode(data, FORMS[stored]).data).astype(int) - np.array(colour)).max() <= 3


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("stored", list(Stored))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", TURNS)
def test_exif_rotation(turn: int, form: str, stored: Stored) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = turn
    data = saved(Image.fromarray(COLOUR), form, exif=exif, **({"quality": 95} if form in ("JPEG", "WEBP") else {}))
    found = pixels(encode(data, FORMS[stored]).data).astype(int)
    assert np.abs(found - TURNS[turn](COLOUR)).mean() < 4


@pytest.mark.parametrize("stored", list(Stored))
def test_after_a_rotation_nothing_says_to_rotate_again(stored: Stored) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = encode(saved(Image.fromarray(COLOUR), form, exif=exif), FORMS[stored]).data
        with Image.open(io.BytesIO(data)) as image:
            assert image.getexif().get(EXIF_ORIENTATION, 1) == 1


@pytest.mark.parametrize("stored", list(Stored))
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3), (2000, 3)])
def test_tiny_and_narrow_pictures(size: tuple[int, int], stored: Stored) -> None:
    for mode in ("RGB", "L", "RGBA", "P", "1"):
        image = encode(saved(Image.new(mode, size, 1), "PNG"), FORMS[stored])
        assert (image.width, image.height) == ((32, 32) if stored is Stored.square else size)
        assert pixels(image.data).shape == (image.height, image.width, 3)


@pytest.mark.parametrize("stored", list(Stored))
def test_a_photo_of_many_pixels_is_made_small(stored: Stored) -> None:
    """48 million, the size that a telephone gives."""
    data = saved(Image.fromarray(GREY).resize((8000, 6000)), "JPEG", quality=60)
    image = encode(data, FORMS[stored])
    sizes = {Stored.square: (32, 32), Stored.original: (8000, 6000), Stored.short_side: (341, 256)}
    assert (image.width, image.height) == sizes[stored]
    assert (image.data == data) == (stored is Stored.original)


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 3), (32, 32, 4)])
@pytest.mark.parametrize("stored", [Stored.square, Stored.original])
def test_arrays(shape: tuple[int, ...], stored: Stored) -> None:
    array = {2: GREY, 3: COLOUR}.get(len(shape), GREY)
    expected = grey(GREY) if len(shape) == 2 else COLOUR
    if shape[-1] == 4:
        array, expected = np.dstack([COLOUR, ALPHA]), over_black(COLOUR, ALPHA)
    found = pixels(encode(array, FORMS[stored]).data).astype(int)
    assert np.abs(found - expected).max() <= (shape[-1] == 4)


def test_the_profile_of_colours_is_not_applied() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = saved(Image.fromarray(COLOUR), "PNG", icc_profile=profile)
    assert np.array_equal(pixels(encode(data, FORMS[Stored.square]).data), COLOUR)
