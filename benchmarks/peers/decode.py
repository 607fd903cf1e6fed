"""JPEG bytes to what torchvision's transforms take, by the decoder that a row names."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import io
from collections.abc import Callable
from typing import Any

from PIL import Image


def pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def torchcodec(data: bytes) -> Any:
    from torchcodec.decoders import decode_jpeg  # here, so that a row that names PIL does not pay for it

    return decode_jpeg(data)


DECODERS: dict[str, Callable[[bytes], Any]] = {"pillow": pillow, "torchcodec": torchcodec}
