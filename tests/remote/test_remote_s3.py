"""Remote shards on S3-compatible storage: a moto server on loopback, behind one that misbehaves."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import fsspec.asyn
import fsspec.config
import pytest
from packed import Packed, cache_of, check
from servers import (
    Fault,
    Faulty,
    cut,
    drop,
    faulty,
    flip,
    free_port,
    send,
    stall,
    status,
    then,
    wait_for,
)

from pipeline.data.remote import ShardCache, filesystem
from pipeline.errors import BadInput


@pytest.fixture(scope="module")
def moto(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a server that has the shards in s3://data."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    port = free_port()
    with (tmp_path_factory.mktemp("moto") / "log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(port)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
                fs = fsspec.filesystem("s3", **options_of(f"http://127.0.0.1:{port}"))
                fs.mkdir("data")
                for name, data in packed.objects().items():
                    fs.pipe_file(f"data{name}", data)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def options_of(address: str) -> dict[str, str]:
    return {"key": "a", "secret": "b", "endpoint_url": address}


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    with faulty(upstream=moto) as between:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setitem(fsspec.config.conf, "s3", options_of(between.address))
        filesystem._system.cache_clear()
        filesystem._system("s3://data")  # a client takes longer to make than these tests let a server be silent
        yield between


def s3_cache(packed: Packed, folder: Path, **options) -> contextlib.AbstractContextManager[ShardCache]:
    return cache_of("s3://data", packed, folder, stall=1.0, deadline=options.pop("deadline", 10.0), **options)


def test_s3(bucket: Faulty, packed: Packed, tmp_path: Path) -> None:
    with s3_cache(packed, tmp_path, fits=3) as cache:
        cache.prefetch([number] for number in range(8))
        for number in range(8):
            check(cache, packed, number)
    assert len(bucket.gets("train")) == 8


@pytest.mark.parametrize(
    "faults",
    [
        [status(503)] * 2,
        [drop(0), drop(9_000)],
        [stall(0, header=False)],
        [stall(9_000)],
        [cut(9_000, told=True)],
        [cut(9_000, told=False)],
        [flip(12_345)],
        [status(500), drop(9_000), flip(-1)],
    ],
    ids=["503", "dropped", "silent", "silent within", "short", "cut off", "a wrong byte", "everything"],
)
def test_s3_recovers(faults: list[Fault], bucket: Faulty, packed: Packed, tmp_path: Path) -> None:
    bucket.faults.extend(faults)
    with s3_cache(packed, tmp_path) as cache:
        check(cache, packed)
    assert not bucket.faults


@pytest.mark.parametrize(
    ("always", "says"),
    [
        (status(503), "s3://data/train-00000.tar did not come within 2 s"),
        (stall(0, header=False), "within 2 s"),
        (status(403), r"cannot be read \(access is denied \(Forbidden\)\): mend"),
        (status(404), r"cannot be read \(it is not there \(404\)\)"),
    ],
    ids=["503", "silent", "403", "404"],
)
def test_s3_raises_within_the_deadline(
    always: Fault, says: str, bucket: Faulty, packed: Packed, tmp_path: Path
) -> None:
    bucket.always = always
    began = time.monotonic()
    with s3_cache(packed, tmp_path, deadline=2.0) as cache, pytest.raises(BadInput, match=says):
        cache.read(0, 0, 1)
    assert time.monotonic() - began < 2.1
    assert ends(fsspec.asyn.get_loop())


def ends(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the driver stops asking soon: by itself it would try again for minutes."""
    deadline = time.monotonic() + 1.0
    while asyncio.all_tasks(loop) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not asyncio.all_tasks(loop)


def test_s3_goes_on_by_range_and_never_joins_two_versions(
    bucket: Faulty, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.remote.filesystem.BLOCK", 9000)
    fs, name = fsspec.filesystem("s3"), packed.shards[0].name
    fs.pipe_file(f"data/{name}", bytes(packed.size))
    bucket.seen.clear()
    bucket.faults.append(then(lambda: fs.pipe_file(f"data/{name}", packed.data[0]), send))
    with s3_cache(packed, tmp_path, shards=packed.unhashed()) as cache:
        check(cache, packed)
    ranges = [request.range for request in bucket.gets("train")]
    assert ranges[0] == "bytes=0-8999" and ranges.count("bytes=0-8999") == 2
