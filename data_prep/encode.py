"""Encode: one record to the bytes that are stored. Bytes that already fit are kept, so nothing is lost twice.

Conversions, in this order: EXIF rotation applied; palette, grey, CMYK, alpha (over black) and 16-bit to 8-bit RGB;
an image up to a quarter smaller than the target is padded with zeros in the middle (28 px digits in 32), any other
is resized on its short side (antialiased bilinear) and cut in the middle. What was converted is stored as PNG.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data_prep.sources import Record
from pipeline.errors import BadInput

KEPT = {"JPEG": "jpg", "PNG": "png"}


@dataclass(frozen=True)
class Encoded:
    data: bytes
    extension: str
    """jpg or png."""


def encode(record: Record, size: int) -> Encoded:
    """Raises BadInput, naming the image, when it cannot be decoded."""
    if isinstance(record.image, np.ndarray):
        return _png(_fit(_rgb(Image.fromarray(record.image)), size))
    try:
        with Image.open(io.BytesIO(record.image)) as image:
            image.load()
            kept = image.format in KEPT and image.mode == "RGB" and image.size == (size, size)
            if kept and not image.getexif().get(0x0112, 1) > 1:
                return Encoded(record.image, KEPT[str(image.format)])
            return _png(_fit(_rgb(ImageOps.exif_transpose(image)), size))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{record.origin} is no readable image ({error}): mend or remove it.") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        wide = np.asarray(image, dtype=np.float64)
        top = 65535.0 if wide.max(initial=0) > 255 else 255.0
        image = Image.fromarray(np.clip(wide * (255.0 / top) + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")


def _fit(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if max(width, height) <= size and min(width, height) >= 0.75 * size:
        square = Image.new("RGB", (size, size))
        square.paste(image, ((size - width) // 2, (size - height) // 2))
        return square
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def _png(image: Image.Image) -> Encoded:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return Encoded(buffer.getvalue(), "png")
