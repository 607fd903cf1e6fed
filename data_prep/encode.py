"""Encode: one image to the bytes that are stored. Bytes that already fit are kept, so nothing is lost twice.

Conversions, in this order: EXIF rotation applied; palette, grey, CMYK, alpha (over black), 16 bits and floats from 0 to
1 to 8-bit RGB; then by what is stored (``Stored``):

- square: an image up to a quarter smaller than the target is padded with zeros in the middle (28 px digits in 32), any
  other is resized on its short side (antialiased bilinear) and cut in the middle. JPEG and PNG that need none of this
  are kept, everything else is stored as PNG.
- original: JPEG and PNG that need no conversion are kept, of any size. What is converted is stored as PNG, or as JPEG
  of quality 95 without chroma subsampling where it came lossy compressed (JPEG, WebP).
- short_side: resized to that short side (antialiased bilinear), never enlarged, and stored as JPEG of ``quality``,
  chroma subsampled 4:2:0. JPEG that is small enough and needs no conversion is kept.

JPEG photos of four times the target or more are decoded at a reduced scale, never below twice the target.
"""

import hashlib
import io
import zlib
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps

from data_prep.jpeg import plain_pixels
from data_prep.sources import Source, Stored

KEPT = {"JPEG": "jpg", "PNG": "png"}
LOSSY = ("JPEG", "MPO", "WEBP")
FIDELITY = {"quality": 95, "subsampling": "4:4:4"}
"""Of the JPEG of an original that had to be converted and was lossy compressed before."""
EXIF_ORIENTATION = 0x0112
PNG_DEPTH = 24
"""Where a PNG says how many bits a channel has."""
LARGEST = 2**16 - 1
"""Pixels of a side that the index can hold."""


@dataclass(frozen=True)
class Form:
    """How images are stored."""

    stored: Stored
    image_size: int
    short_side: int
    quality: int

    @classmethod
    def of(cls, source: Source) -> "Form":
        return cls(source.stored, source.image_size, source.short_side, source.quality)

    @property
    def side(self) -> int | None:
        """Short side that images are made smaller to, pixels; None leaves them."""
        return {Stored.square: self.image_size, Stored.short_side: self.short_side}.get(self.stored)

    def fits(self, width: int, height: int) -> bool:
        if self.stored is Stored.square:
            return width == height == self.image_size
        return self.stored is Stored.original or min(width, height) <= self.short_side


@dataclass(frozen=True)
class Encoded:
    data: bytes
    extension: str
    """jpg or png."""
    content: int
    """64-bit hash of the RGB pixels before any compression of ours: equal images are equal however they came."""
    crc: int
    """crc32 of ``data``."""
    width: int
    height: int
    image: Image.Image = field(compare=False)
    """The pixels that were hashed."""


class Unreadable(Exception):
    """An image that cannot be decoded; says why."""


def encode(image: bytes | np.ndarray, form: Form) -> Encoded:
    """Raises Unreadable."""
    try:
        if isinstance(image, np.ndarray):
            return _converted(_rgb(Image.fromarray(image)), form, lossy=False)
        return _encoded(image, form)
    except Unreadable:
        raise
    except Exception as error:  # each of Pillow's decoders raises its own kinds: OSError, SyntaxError, struct.error ...
        unknown = "cannot identify" in str(error)
        reason = "unknown format" if unknown else str(error).rstrip(".") or type(error).__name__
        raise Unreadable(reason) from error


def _encoded(data: bytes, form: Form) -> Encoded:
    plain = plain_pixels(data, form.fits)
    if plain is not None:
        return _stored(plain, data, "jpg")
    with Image.open(io.BytesIO(data)) as image:
        kept = _kept(image, data, form)
        if form.side is not None and min(image.size) >= 4 * form.side:
            image.draft("RGB", (2 * form.side, 2 * form.side))
        image.load()
        upright = image.getexif().get(EXIF_ORIENTATION, 1) <= 1
        if kept and upright:
            return _stored(image if image.mode == "RGB" else image.convert("RGB"), data, kept)
        turned = image if upright else ImageOps.exif_transpose(image)
        return _converted(_rgb(turned), form, lossy=image.format in LOSSY)


def _kept(image: Image.Image, data: bytes, form: Form) -> str | None:
    """Extension of bytes that can be stored as they are, but for a rotation."""
    if not form.fits(*image.size) or image.mode not in ("RGB", "L") or "transparency" in image.info:
        return None
    if image.format == "PNG" and (form.stored is Stored.short_side or data[PNG_DEPTH] == 16):
        return None
    return KEPT.get(str(image.format))


def _converted(image: Image.Image, form: Form, lossy: bool) -> Encoded:
    """From 8-bit RGB."""
    if form.stored is Stored.square:
        image = _square(image, form.image_size)
    elif form.stored is Stored.short_side:
        image = _shortened(image, form.short_side)
    if form.stored is Stored.short_side:
        return _stored(image, _saved(image, "JPEG", quality=form.quality, subsampling="4:2:0"), "jpg")
    if form.stored is Stored.original and lossy:
        return _stored(image, _saved(image, "JPEG", **FIDELITY), "jpg")
    return _stored(image, _saved(image, "PNG", compress_level=1), "png")


def _stored(image: Image.Image, data: bytes, extension: str) -> Encoded:
    if max(image.size) > LARGEST:
        raise Unreadable(f"a side of {max(image.size):,} pixels, where {LARGEST:,} is the most")
    content = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little")
    return Encoded(data, extension, content, zlib.crc32(data), *image.size, image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        wide = np.asarray(image, dtype=np.float64)
        top = _white(image.mode, float(wide.max(initial=0)))
        image = Image.fromarray(np.clip(wide * (255.0 / top) + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")


def _white(mode: str, brightest: float) -> float:
    """What white is in an image of more than 8 bits: its depth says so, or else its brightest pixel."""
    if mode.startswith("I;16") or brightest > 255:
        return 65535.0
    return 1.0 if mode == "F" and brightest <= 1 else 255.0


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if max(width, height) <= size and min(width, height) >= 0.75 * size:
        square = Image.new("RGB", (size, size))
        square.paste(image, ((size - width) // 2, (size - height) // 2))
        return square
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def _shortened(image: Image.Image, side: int) -> Image.Image:
    short = min(image.size)
    if short <= side:
        return image
    width, height = (max(side, round(length * side / short)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _saved(image: Image.Image, form: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()
