"""Loaders: which are compared, on which work. Output is float32, normalised, unless the name says uint8."""

from dataclasses import dataclass, field

BASE = "ImageFolder"


@dataclass(frozen=True)
class Loader:
    module: str
    """Of ``benchmarks.peers``."""
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Race:
    size: int
    """Pixels of a side, after the crop."""
    batch: int
    loaders: dict[str, Loader]


def _decoding(name: str, module: str, *decoders: str) -> dict[str, Loader]:
    return {f"{name}, {decoder}": Loader(module, {"decoder": decoder}) for decoder in decoders}


def _uint8(loaders: dict[str, Loader]) -> dict[str, Loader]:
    return {f"{name}, uint8": loader for name, loader in loaders.items()}


def _ours(what: str, stored: str, *decoders: str, cache: str = "no") -> dict[str, Loader]:
    return {
        f"ours{what}, {decoder}": Loader("ours", {"decoder": decoder, "stored": stored, "cache": cache})
        for decoder in decoders
    }


BOTH = ("pillow", "torchcodec")
ALL = ("pillow", "simplejpeg", "torchcodec")
FOLDER = {BASE: Loader("imagefolder")}
FFCV = {"ffcv": Loader("beton")}
PEERS = {
    **FOLDER,
    "timm": Loader("timm_loader"),
    **_decoding("webdataset", "tars", *BOTH),
    **_decoding("litdata", "litdata_chunks", *BOTH),
    **_decoding("MosaicML", "mosaicml", *BOTH),
    **FFCV,
}
PEERS_UINT8 = {name: loader for name, loader in PEERS.items() if name != "timm" and "pillow" not in name}
PHOTOS = _ours("", "original", *ALL)
CACHED = _ours(" from cache", "square", "pillow", cache="yes")
RACES = {
    "photos": Race(
        224,
        64,
        {**PEERS, **PHOTOS, **_uint8({**PEERS_UINT8, **PHOTOS, **_ours(" of short side 256", "short_side", *ALL)})},
    ),
    "cifar10": Race(32, 256, {**PEERS, **_ours("", "square", *ALL), **CACHED, **_uint8({**FFCV, **CACHED})}),
}
