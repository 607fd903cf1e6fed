"""Small trees in the layouts that data sets are published in, filled with noise."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np


def write_cifar(root: Path, names: int = 3) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b", b"c"][:names]}, 2))
    for batch in ("data_batch_1", "test_batch"):
        data = np.random.default_rng(len(batch)).integers(0, 256, (6, 3072), dtype=np.uint8)
        (folder / batch).write_bytes(pickle.dumps({b"data": data, b"labels": [0, 1, 2] * 2}, 2))
    return folder


def write_idx(folder: Path, zipped: bool, count: int = 5) -> Path:
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, count, 28, 28) + bytes(range(count)) * 784
        labels = struct.pack(">2I", 0x801, count) + bytes(i % 3 for i in range(count))
        for name, data in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    return folder
