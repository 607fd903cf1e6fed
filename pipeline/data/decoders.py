"""Decoders: encoded bytes to pixels, and a box of pixels to the square a model is given. Three back ends, chosen by
name and recorded, since their pixels differ (50 to 62 dB); nothing is ever replaced by another in silence.

The fast ones read JPEG; other formats go through Pillow in all three. Every one releases the GIL while it works, so
threads suffice. Suffixes: H, W of the stored image, S side of the square.
"""

import importlib.util
import io
from typing import ClassVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.data.jpeg import ended_early
from pipeline.errors import BadInput
from pipeline.placement import Backend

JPEG = b"\xff\xd8\xff"
Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels, inside the image."""


class WrongSize(ValueError):
    """The image is not as large as it should be."""

    def __init__(self, high: int, wide: int, shape: tuple[int, int]) -> None:
        super().__init__(f"is {wide} x {high} pixels, but {shape[1]} x {shape[0]} in the index")


class Decoder:
    """Pillow, which brings its own libjpeg-turbo; resizing is antialiased and bilinear."""

    backend: ClassVar[Backend] = Backend.pillow
    needs: ClassVar[tuple[str, ...]] = ()

    def pixels(self, data: bytes) -> np.ndarray:
        """uint8 (H, W, 3). Raises whatever the library raises for bytes that are no image."""
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def square(self, pixels_HW3: np.ndarray, box: Box, out_SS3: np.ndarray) -> None:
        """The box, resized to the square, into ``out_SS3``."""
        _resized(Image.fromarray(pixels_HW3), box, out_SS3)

    def read(self, data: bytes, shape: tuple[int, int], box: Box | None, out: np.ndarray) -> None:
        """The box resized into ``out``, or the whole image without one. Raises WrongSize if it is not of ``shape`` (H,
        W), and whatever the library raises for bytes that are no image."""
        with Image.open(io.BytesIO(data)) as opened:
            _check(opened.height, opened.width, shape)
            image = opened if opened.mode == "RGB" else opened.convert("RGB")
            if box is None:
                out[:] = np.asarray(image)
            else:
                _resized(image, box, out)


class _Fast(Decoder):
    """JPEG by another library; torch resizes, antialiased, in channels-last memory: 2.5 times as fast as OpenCV's by
    area, and nearer to Pillow's."""

    def decoded(self, data: bytes) -> np.ndarray:
        """uint8 (H, W, 3) of a JPEG."""
        raise NotImplementedError

    def pixels(self, data: bytes) -> np.ndarray:
        return self.decoded(data) if data.startswith(JPEG) else super().pixels(data)

    def square(self, pixels_HW3: np.ndarray, box: Box, out_SS3: np.ndarray) -> None:
        top, left, high, wide = box
        cut_HW3 = pixels_HW3[top : top + high, left : left + wide]
        if not cut_HW3.flags.writeable:  # the decoded cache; torch has no tensors that may only be read
            cut_HW3 = cut_HW3.copy()
        cut_13HW = torch.from_numpy(cut_HW3).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        made_13SS = interpolate(cut_13HW, list(out_SS3.shape[:2]), mode="bilinear", antialias=True)
        torch.from_numpy(out_SS3).copy_(made_13SS[0].permute(1, 2, 0))

    def read(self, data: bytes, shape: tuple[int, int], box: Box | None, out: np.ndarray) -> None:
        pixels_HW3 = self.pixels(data)
        _check(pixels_HW3.shape[0], pixels_HW3.shape[1], shape)
        if box is None:
            out[:] = pixels_HW3
        else:
            self.square(pixels_HW3, box, out)


class SimpleJpeg(_Fast):
    """libjpeg-turbo through simplejpeg, down to the last row of the box."""

    backend = Backend.simplejpeg
    needs = ("simplejpeg",)

    def decoded(self, data: bytes) -> np.ndarray:
        import simplejpeg

        return simplejpeg.decode_jpeg(data)

    def read(self, data: bytes, shape: tuple[int, int], box: Box | None, out: np.ndarray) -> None:
        if box and (early := ended_early(data, shape, box[0] + box[2])):
            import simplejpeg

            self.square(simplejpeg.decode_jpeg(early, strict=False), box, out)
        else:
            super().read(data, shape, box, out)


class TorchCodec(_Fast):
    """torchcodec, which takes the place of torchvision's decoders. It decodes to the end, for it cannot be told to be
    silent about data that are left over."""

    backend = Backend.torchcodec
    needs = ("torchcodec",)

    def decoded(self, data: bytes) -> np.ndarray:
        from torchcodec.decoders import decode_jpeg  # type: ignore[attr-defined]

        return cast(Tensor, decode_jpeg(data)).permute(1, 2, 0).numpy()


DECODERS: dict[Backend, type[Decoder]] = {kind.backend: kind for kind in (Decoder, SimpleJpeg, TorchCodec)}


def installed(backend: Backend) -> bool:
    return all(importlib.util.find_spec(name) for name in DECODERS[backend].needs)


def decoder(backend: Backend) -> Decoder:
    """Raises BadInput when what it needs is not installed."""
    if not installed(backend):
        raise BadInput(
            f"placement.decoder={backend.value} needs {' and '.join(DECODERS[backend].needs)}: "
            "pip install 'crossover[fast]', or take placement.decoder=pillow."
        )
    return DECODERS[backend]()


def _check(high: int, wide: int, shape: tuple[int, int]) -> None:
    if (high, wide) != shape:
        raise WrongSize(high, wide, shape)


def _resized(image: Image.Image, box: Box, out_SS3: np.ndarray) -> None:
    top, left, high, wide = box
    corners = (left, top, left + wide, top + high)
    out_SS3[:] = np.asarray(image.resize(out_SS3.shape[1::-1], Image.Resampling.BILINEAR, box=corners))
