"""Fixtures of all tests of remote shards."""

from collections.abc import Iterator

import pytest
from packed import Packed
from servers import Faulty, faulty


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow one another ten times as fast."""
    monkeypatch.setattr("pipeline.data.remote.download.FIRST_WAIT", 0.01)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return Packed(tmp_path_factory.mktemp("shards"), 8)


@pytest.fixture
def server(packed: Packed) -> Iterator[Faulty]:
    """Has the shards, and may misbehave."""
    with faulty(objects=packed.objects()) as server:
        yield server
