"""Sources: where images and labels come from. One small file each; add a file and name it here."""

from data_prep.sources.arrays import ArraySource
from data_prep.sources.base import Deferred, Order, Record, Source, Stored
from data_prep.sources.declared import DeclaredSource
from data_prep.sources.digits import DigitsSource
from data_prep.sources.fractal import FractalSource
from data_prep.sources.images import ImageSource
from data_prep.sources.prepared import PreparedSource
from data_prep.sources.table import TableSource
from data_prep.sources.torchvision import TorchvisionSource
from data_prep.sources.webdataset import WebdatasetSource

SOURCES: dict[str, type[Source]] = {
    "fractal": FractalSource,
    "digits": DigitsSource,
    "images": ImageSource,
    "arrays": ArraySource,
    "table": TableSource,
    "torchvision": TorchvisionSource,
    "webdataset": WebdatasetSource,
    "prepared": PreparedSource,
    "declared": DeclaredSource,
}

__all__ = [
    "SOURCES",
    "ArraySource",
    "DeclaredSource",
    "Deferred",
    "DigitsSource",
    "FractalSource",
    "ImageSource",
    "Order",
    "PreparedSource",
    "Record",
    "Source",
    "Stored",
    "TableSource",
    "TorchvisionSource",
    "WebdatasetSource",
]
