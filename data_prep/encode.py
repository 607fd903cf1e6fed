"""Encode: one record to the bytes that are stored. Bytes that already fit are kept, so nothing is lost twice.

Conversions, in this order: EXIF rotation applied; palette, grey, CMYK, alpha (over black) and 16 bits to 8-bit RGB; an
image up to a quarter smaller than the target is padded with zeros in the middle (28 px digits in 32), any other is
resized on its short side (antialiased bilinear) and cut in the middle. What was converted is stored as PNG. JPEG photos
of four times the target or more are decoded at a reduced scale, never below twice the target.
"""

import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from data_prep.sources import Deferred, Record
from pipeline.errors import BadInput

KEPT = {"JPEG": ("jpg", ("RGB", "L")), "PNG": ("png", ("RGB", "L"))}
"""Extension, and the modes whose plain conversion to RGB is what the reader does too."""
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Encoded:
    data: bytes
    extension: str
    """jpg or png."""
    content: int
    """64-bit hash of the decoded RGB pixels: equal images are equal however they were compressed."""
    crc: int
    """crc32 of ``data``."""
    split: str
    label: str | tuple[str, ...]
    width: int
    height: int


def encode_all(records: Sequence[Record], size: int) -> list[Encoded]:
    """A chunk of records, as one task of an executor. Raises BadInput naming the image that cannot be decoded."""
    return [encode(record, size) for record in records]


def encode(record: Record, size: int) -> Encoded:
    """Raises BadInput, naming the image, when it cannot be decoded."""
    assert not isinstance(record.image, Deferred)
    if isinstance(record.image, np.ndarray):
        image = _fit(_rgb(Image.fromarray(record.image)), size)
        return _encoded(record, image, _png(image), "png")
    try:
        with Image.open(io.BytesIO(record.image)) as image:
            extension, modes = KEPT.get(str(image.format), ("", ()))
            fits = image.size == (size, size) and image.mode in modes and "transparency" not in image.info
            if min(image.size) >= 4 * size:
                image.draft("RGB", (2 * size, 2 * size))
            image.load()
            if fits and image.getexif().get(EXIF_ORIENTATION, 1) <= 1:
                return _encoded(record, image.convert("RGB"), record.image, extension)
            fitted = _fit(_rgb(ImageOps.exif_transpose(image)), size)
            return _encoded(record, fitted, _png(fitted), "png")
    except Exception as error:  # each of Pillow's decoders raises its own kinds: OSError, SyntaxError, struct.error ...
        raise BadInput(f"{record.origin} is no readable image ({_reason(error)}): mend or remove it.") from error


def _reason(error: Exception) -> str:
    return "unknown format" if "cannot identify" in str(error) else str(error).rstrip(".") or type(error).__name__


def _encoded(record: Record, image: Image.Image, data: bytes, extension: str) -> Encoded:
    pixels = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    content = int.from_bytes(pixels, "little")
    return Encoded(data, extension, content, zlib.crc32(data), record.split, record.label, *image.size)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        wide = np.asarray(image, dtype=np.float64)
        top = 65535.0 if wide.max(initial=0) > 255 else 255.0
        image = Image.fromarray(np.clip(wide * (255.0 / top) + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")


def _fit(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if max(width, height) <= size and min(width, height) >= 0.75 * size:
        square = Image.new("RGB", (size, size))
        square.paste(image, ((size - width) // 2, (size - height) // 2))
        return square
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
