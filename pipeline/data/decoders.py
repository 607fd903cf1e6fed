"""Decoders: encoded bytes to pixels, and a box of pixels to the square a model is given. Three back ends, chosen by
name and recorded, since their pixels differ (50 to 62 dB); nothing is ever replaced by another in silence.

The fast ones read JPEG; other formats go through Pillow in all three. Every one releases the GIL while it works, so
threads suffice. Suffixes: H, W of the stored image, S side of the square, C channels.
"""

import importlib.util
import io
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from PIL import Image

from pipeline.errors import BadInput
from pipeline.placement import Backend

JPEG = b"\xff\xd8\xff"
Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels, inside the image."""


@dataclass(frozen=True)
class Decoder:
    """Pillow: antialiased bilinear resizing, decoder of its own libjpeg-turbo."""

    backend: ClassVar[Backend] = Backend.pillow
    needs: ClassVar[tuple[str, ...]] = ()

    def pixels(self, data: bytes) -> np.ndarray:
        """uint8 (H, W, 3). Raises whatever the library raises for bytes that are no image."""
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def square(self, pixels_HWC: np.ndarray, box: Box, out_SSC: np.ndarray) -> None:
        """The box, resized to the square, into ``out_SSC``."""
        top, left, high, wide = box
        image = Image.fromarray(pixels_HWC)
        corners = (left, top, left + wide, top + high)
        out_SSC[:] = np.asarray(image.resize(out_SSC.shape[1::-1], Image.Resampling.BILINEAR, box=corners))


@dataclass(frozen=True)
class SimpleJpeg(Decoder):
    """libjpeg-turbo through simplejpeg; OpenCV resizes, by area when it shrinks."""

    backend: ClassVar[Backend] = Backend.simplejpeg
    needs: ClassVar[tuple[str, ...]] = ("simplejpeg", "cv2")

    def pixels(self, data: bytes) -> np.ndarray:
        if not data.startswith(JPEG):
            return super().pixels(data)
        import simplejpeg

        return simplejpeg.decode_jpeg(data)

    def square(self, pixels_HWC: np.ndarray, box: Box, out_SSC: np.ndarray) -> None:
        import cv2

        top, left, high, wide = box
        side = out_SSC.shape[0]
        how = cv2.INTER_AREA if high >= side and wide >= side else cv2.INTER_LINEAR
        cut = pixels_HWC[top : top + high, left : left + wide]
        cv2.resize(cut, (side, side), dst=out_SSC, interpolation=how)


@dataclass(frozen=True)
class TorchCodec(Decoder):
    """torchcodec, which replaces torchvision's decoders; torch resizes, antialiased."""

    backend: ClassVar[Backend] = Backend.torchcodec
    needs: ClassVar[tuple[str, ...]] = ("torchcodec",)

    def pixels(self, data: bytes) -> np.ndarray:
        if not data.startswith(JPEG):
            return super().pixels(data)
        from torch import Tensor
        from torchcodec.decoders import decode_jpeg  # type: ignore[attr-defined]

        return cast(Tensor, decode_jpeg(data)).permute(1, 2, 0).numpy()

    def square(self, pixels_HWC: np.ndarray, box: Box, out_SSC: np.ndarray) -> None:
        import torch
        from torch.nn.functional import interpolate

        top, left, high, wide = box
        cut_HWC = torch.from_numpy(pixels_HWC[top : top + high, left : left + wide])
        cut_1CHW = cut_HWC.permute(2, 0, 1)[None]
        made = interpolate(cut_1CHW, out_SSC.shape[:2], mode="bilinear", antialias=True)
        out_SSC[:] = made[0].permute(1, 2, 0).numpy()


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
    if backend is Backend.simplejpeg:
        import cv2

        cv2.setNumThreads(1)  # the loader's own threads are the parallelism
    return DECODERS[backend]()
