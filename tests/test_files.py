import os
import threading
from pathlib import Path

import pytest

from pipeline.data.files import Descriptor, OpenFiles, ShardFiles


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{k}.tar" for k in range(8)]
    for k, path in enumerate(paths):
        path.write_bytes(bytes([k]) * 1000)
    return paths


def open_here(paths: list[Path]) -> int:
    targets = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if _is_open(n)]
    return sum(str(path) in targets for path in paths)


def _is_open(number: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{number}")


def test_any_place_of_any_shard_is_read(paths: list[Path]) -> None:
    paths[3].write_bytes(b"0123456789")
    files = ShardFiles(paths)
    assert files.read(3, 2, 5) == b"23456"
    assert files.read(3, 8, 5) == b"89"
    assert files.read(3, 20, 5) == b""
    assert files.read(0, 0, 2) == b"\0\0"
    files.close()


def test_a_missing_shard_is_an_os_error(paths: list[Path]) -> None:
    paths[1].unlink()
    with pytest.raises(FileNotFoundError):
        ShardFiles(paths).read(1, 0, 1)


def test_the_number_of_open_files_is_bounded(paths: list[Path]) -> None:
    files = ShardFiles(paths, limit=3)
    for shard in range(8):
        files.read(shard, 0, 1)
    assert open_here(paths) == 3
    files.close()
    assert open_here(paths) == 0


def test_the_least_recently_used_is_let_go(paths: list[Path]) -> None:
    opened = []

    def opener(number: int) -> Descriptor:
        opened.append(number)
        return Descriptor(os.open(paths[number], os.O_RDONLY))

    files = OpenFiles(opener, limit=2)
    for number in (0, 1, 0, 2, 0, 1):
        files.get(number)
    assert opened == [0, 1, 2, 1]
    assert list(files.opened()) == [0, 1]


def test_a_file_that_is_let_go_stays_open_for_who_reads_it(paths: list[Path]) -> None:
    files = OpenFiles(lambda number: Descriptor(os.open(paths[number], os.O_RDONLY)), limit=1)
    held = files.get(0)
    files.get(1)
    files.drop(1)
    assert held.read(0, 2) == b"\0\0"
    assert open_here(paths) == 1


def test_threads_never_read_another_file_than_theirs(paths: list[Path]) -> None:
    files = ShardFiles(paths, limit=2)
    wrong: list[int] = []

    def work(first: int) -> None:
        for turn in range(500):
            shard = (first + turn * 3) % 8
            if files.read(shard, 10, 100) != bytes([shard]) * 100:
                wrong.append(shard)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    files.close()
