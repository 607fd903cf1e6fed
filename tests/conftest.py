"""Fixtures shared by the tests: tiny data, a tiny study, and where the real data may be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.prepare import prepare
from data_prep.sources import DigitsSource, FractalSource
from pipeline.job import Home

os.environ.setdefault("OMP_NUM_THREADS", "1")
SHARED = Path(os.environ.get("CROSSOVER_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def fractal(data_root: Path) -> Home:
    """8 classes x 40 images of 16 px: 288 for training, 32 for validation."""
    dataset, folder = prepare(FractalSource(image_size=16, classes=8, per_class=40), "fractal", data_root)
    return Home(dataset, str(folder))


@pytest.fixture(scope="session")
def digits(data_root: Path) -> Home:
    dataset, folder = prepare(DigitsSource(image_size=16), "digits", data_root)
    return Home(dataset, str(folder))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real data (CIFAR-10 as JPEG, Fashion-MNIST) is not here; set CROSSOVER_SHARED")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, as workers have it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
