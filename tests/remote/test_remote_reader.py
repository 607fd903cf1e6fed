"""A data set whose shards lie on a server: the same images as from the disk, or an error that is none of theirs."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from servers import Faulty, cut, drop, faulty, flip, stall, status

from data_prep.manifest import read_manifest
from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from pipeline.data.order import sample_ids, windows
from pipeline.data.reader import Reader, Reading
from pipeline.data.remote import Unavailable
from pipeline.errors import BadInput
from pipeline.subset import OnBadSample, Subset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """288 images in nine shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.shards.SHARD_SAMPLES", 32)
        _, folder = prepare(
            FractalSource(image_size=16, classes=8, per_class=40), "few", tmp_path_factory.mktemp("data")
        )
    assert len(read_manifest(folder).shards["train"]) == 9
    return folder


@pytest.fixture
def server(prepared: Path) -> Iterator[Faulty]:
    with faulty(objects={f"/{path.name}": path.read_bytes() for path in prepared.glob("*.tar")}) as server:
        yield server


def remote(prepared: Path, address: str, folder: Path) -> Path:
    """The same data set with its shards elsewhere."""
    folder.mkdir()
    for path in prepared.iterdir():
        if path.is_file() and path.suffix != ".tar":
            (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**manifest, "base": address}))
    return folder


def opened(prepared: Path, server: Faulty, tmp_path: Path, fits: float = 100, **options) -> Reader:
    shard = read_manifest(prepared).shards["train"][0].bytes
    reading = Reading(
        cache=tmp_path / "cache", cache_bytes=0, shard_bytes=int(fits * shard), fetch_seconds=1.0, **options
    )
    return Reader.open(remote(prepared, server.address, tmp_path / "set"), "train", reading)


def expected(prepared: Path, ids: np.ndarray) -> np.ndarray:
    return Reader.open(prepared, "train", Reading(cache_bytes=0)).gather(ids)[0]


def test_the_images_are_those_of_the_disk_whatever_the_server_does(
    prepared: Path, server: Faulty, tmp_path: Path
) -> None:
    server.faults.extend([status(503), drop(3000), cut(2000, told=False), flip(700), flip(1300), drop(-1)])
    ids = np.random.default_rng(0).permutation(288)
    reader = opened(prepared, server, tmp_path)
    assert (reader.gather(ids)[0] == expected(prepared, ids)).all()
    assert not server.faults
    reader.close()


def test_a_cache_of_two_windows_fetches_each_shard_once_an_epoch(
    prepared: Path, server: Faulty, tmp_path: Path
) -> None:
    subset = Subset("d" * 64, 288, block=32, window=2)
    reader = opened(prepared, server, tmp_path, fits=4.5)
    reader.ahead(windows(subset, 288, 0, 0, 2 * 288))
    for start in range(0, 2 * 288, 16):
        ids = sample_ids(subset, 288, 0, start, start + 16)
        assert (reader.gather(ids)[0] == expected(prepared, ids)).all()
    assert len(server.gets()) <= 18 + 2
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.tar")) <= reader.reading.shard_bytes
    reader.close()


@pytest.mark.parametrize("policy", OnBadSample)
def test_a_shard_that_does_not_come_is_no_bad_sample(
    policy: OnBadSample, prepared: Path, server: Faulty, tmp_path: Path
) -> None:
    server.always = status(503)
    reader = opened(prepared, server, tmp_path, on_bad_sample=policy)
    with pytest.raises(Unavailable, match="did not come within 1 s"):
        reader.gather(np.arange(4))
    assert reader.bad_samples == 0
    server.always = None
    assert (reader.gather(np.arange(4))[0] == expected(prepared, np.arange(4))).all()
    reader.close()


def test_what_is_wrong_at_its_source_is_said_or_counted(prepared: Path, server: Faulty, tmp_path: Path) -> None:
    """One image of the first shard has a wrong byte, wherever it is fetched from."""
    local = Reader.open(prepared, "train", Reading(cache_bytes=0))
    name = f"/{local.manifest.shards['train'][0].name}"
    wrong = bytearray(server.objects[name])
    wrong[int(local.index.rows[3]["offset"]) + 40] ^= 0xFF
    server.objects[name] = bytes(wrong)
    for k, policy in enumerate(OnBadSample):
        (tmp_path / str(k)).mkdir()
        reader = opened(prepared, server, tmp_path / str(k), on_bad_sample=policy)
        if policy is OnBadSample.fail:
            with pytest.raises(BadInput, match=r"fetched twice \(sha256"):
                reader.gather(np.arange(8))
        else:
            images, _ = reader.gather(np.arange(8))
            assert (images == expected(prepared, np.array([0, 1, 2, 4, 4, 5, 6, 7]))).all()
            assert reader.bad_samples == 1
        reader.close()


def test_silence_is_an_error_within_the_deadline(prepared: Path, server: Faulty, tmp_path: Path) -> None:
    server.always = stall(100)
    reader = opened(prepared, server, tmp_path)
    with pytest.raises(Unavailable, match=r"within 1 s \(it fell silent; 100 bytes had come\)"):
        reader.gather(np.arange(1))
    reader.close()
