"""JPEG bytes to what torchvision's transforms take, by the decoder that a row names."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

import io
from collections.abc import Callable
from typing import Any

from PIL import Image


def pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def torchcodec(data: bytes) -> Any:
    # Imported here, so that a row that names Pillow does not pay for it.
    from torchcodec.decoders import decode_jpeg  # type: ignore[attr-defined]

    return decode_jpeg(data)


DECODERS: dict[str, Callable[[bytes], Any]] = {"pillow": pillow, "torchcodec": torchcodec}
