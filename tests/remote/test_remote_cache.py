"""The cache of a node: threads and processes share it, it fetches ahead, keeps within its limit, and survives kills."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from packed import DEADLINE, Packed, cache_of, check, here
from servers import Faulty, stall, status

from pipeline.data.remote import ShardCache
from pipeline.errors import BadInput


def test_threads_fetch_a_shard_once(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.pace = 0.005
    with cache_of(server.address, packed, tmp_path) as cache:
        threads = [threading.Thread(target=check, args=(cache, packed)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.gets()) == 1


def test_threads_share_one_failure(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    """Those who wait are told why it does not come, and do not each wait for a deadline of their own."""
    server.always = status(503)
    said: list[str] = []

    def work() -> None:
        with pytest.raises(BadInput) as caught:
            cache.read(0, 0, 1)
        said.append(str(caught.value))

    began = time.monotonic()
    with cache_of(server.address, packed, tmp_path) as cache:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(said) == 4 and len(set(said)) == 1
    assert time.monotonic() - began < DEADLINE + 0.5


CHILD = """
import sys
from pathlib import Path
from data_prep.pack import Shard
from pipeline.data.remote import ShardCache
address, folder, limit, *rest = sys.argv[1:]
shards = [Shard(*map(eval, part.split(":"))) for part in rest]
cache = ShardCache([f"{address}/{s.name}" for s in shards], shards, Path(folder), int(limit), 20.0, 0.3)
print("ready", flush=True)
sys.stdin.readline()
import hashlib
print([hashlib.sha256(cache.read(k, 0, s.bytes)).hexdigest() == s.sha256 for k, s in enumerate(shards)], flush=True)
cache.close()
"""


def child(address: str, packed: Packed, folder: Path, fits: float = 100) -> subprocess.Popen[str]:
    shards = [f"{s.name!r}:{s.samples}:{s.bytes}:{s.sha256!r}" for s in packed.shards]
    command = [sys.executable, "-c", CHILD, address, str(folder), str(int(fits * packed.size)), *shards]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate("go\n", timeout=60)
    return out.strip()


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.parametrize("fits", [100, 2.5])
def test_processes_of_a_node_fetch_each_shard_once(fits: float, server: Faulty, packed: Packed, tmp_path: Path) -> None:
    processes = [child(server.address, packed, tmp_path, fits) for _ in range(3)]
    for process in processes:
        start(process)
    assert [finish(process) for process in processes] == [str([True] * 8)] * 3
    fetched = [request.path for request in server.gets()]
    if fits == 100:
        assert sorted(fetched) == sorted(packed.objects())
    else:
        assert set(fetched) == set(packed.objects())


def test_another_process_goes_on_where_a_killed_one_was(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.pace = 0.05
    holder = child(server.address, packed, tmp_path)
    start(holder)
    while not any(path.stat().st_size > 8000 for path in tmp_path.glob("*.part")):
        time.sleep(0.01)
    waiting = child(server.address, packed, tmp_path)
    start(waiting)
    time.sleep(0.1)
    assert len(server.gets()) == 1
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    server.pace = 0.0
    assert finish(waiting) == str([True] * 8)
    first, second, *rest = server.gets()
    assert first.range is None and second.path == first.path
    assert int((second.range or "").removeprefix("bytes=").removesuffix("-")) >= 8000
    assert all(request.range is None for request in rest)


def test_who_waits_for_a_process_that_hangs_is_told(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.always = stall(100)
    holder = child(server.address, packed, tmp_path)
    start(holder)
    _until(lambda: here(tmp_path, "part") == 1)
    holder.send_signal(signal.SIGSTOP)
    with (
        cache_of(server.address, packed, tmp_path, deadline=0.2) as cache,
        pytest.raises(BadInput, match="is being fetched by a process that has stopped, but holds"),
    ):
        cache.read(0, 0, 1)
    holder.kill()
    holder.communicate()


def test_close_does_not_wait_for_a_silent_server(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.always = stall(100)
    cache = ShardCache([server.address + "/train-00000.tar"], packed.shards[:1], tmp_path, 10**9, 60.0)
    cache.prefetch([[0]])
    _until(lambda: here(tmp_path, "part") == 1)
    began = time.monotonic()
    cache.close()
    assert time.monotonic() - began < 1.5


def test_a_later_run_finds_what_is_here(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    for _ in range(2):
        with cache_of(server.address, packed, tmp_path) as cache:
            check(cache, packed)
    assert len(server.gets()) == 1


def test_the_folder_stays_within_its_limit(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of(server.address, packed, tmp_path, fits=3.5) as cache:
        for number in range(8):
            check(cache, packed, number)
            assert here(tmp_path) == min(number + 1, 3)
        check(cache, packed, 7)
        check(cache, packed, 5)
    assert len(server.gets()) == 8


def test_what_is_needed_latest_is_evicted(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    """Belady's order on 0 1 2 0 3 1 with room for two: 2 takes the place of 1, 3 that of 2, and 1 that of either."""
    order = [0, 1, 2, 0, 3, 1]
    with cache_of(server.address, packed, tmp_path, fits=2) as cache:
        cache._upcoming.follow([number] for number in order)  # as prefetch does, without its threads
        for number in order:
            check(cache, packed, number)
    assert [request.path[-5 - 1 : -4] for request in server.gets()] == [f"{k:02d}" for k in (0, 1, 2, 3, 1)]


def test_a_shard_is_here_before_it_is_needed(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of(server.address, packed, tmp_path, fits=3) as cache:
        order = [5, 3, 1, 7, 0, 2, 6, 4]
        cache.prefetch([number] for number in order)
        for place, number in enumerate(order):
            _until(lambda number=number: _is_here(cache, number))
            requests = len(server.gets())
            check(cache, packed, number)
            ahead = order[place + 1 : place + 3]
            _until(lambda ahead=ahead: all(_is_here(cache, k) for k in ahead))
            assert here(tmp_path) + here(tmp_path, "part") <= 3
            assert requests <= place + 3
    assert len(server.gets()) == 8


@pytest.mark.parametrize("fits", [4, 5, 8])
def test_ranks_that_share_windows_fetch_each_shard_once_an_epoch(
    fits: int, server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    """Windows of two shards, samples mixed within, every second one for each rank; two epochs in different orders."""
    rng = random.Random(0)
    order = rng.sample(range(8), 8) + rng.sample(range(8), 8)
    with (
        cache_of(server.address, packed, tmp_path, fits=fits) as first,
        cache_of(server.address, packed, tmp_path, fits=fits) as second,
    ):
        first.prefetch([order[k : k + 2] for k in range(0, 16, 2)])
        second.prefetch(order[k : k + 2] for k in range(0, 16, 2))
        for start in range(0, 16, 2):
            window = [(number, place) for number in order[start : start + 2] for place in packed.places[number]]
            rng.shuffle(window)
            for turn, (number, (offset, size)) in enumerate(window):
                data = (first, second)[turn % 2].read(number, offset, size)
                assert data == packed.data[number][offset : offset + size]
                time.sleep(0.0005)
    print(order, [int(r.path[-9:-4]) for r in server.gets()])
    assert len(server.gets()) <= (16 if fits < 8 else 8)


def test_ahead_of_need_a_failure_waits_until_it_is_needed(
    server: Faulty, packed: Packed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del server.objects[f"/{packed.shards[1].name}"]
    with cache_of(server.address, packed, tmp_path) as cache:
        cache.prefetch([[0], [1], [2]])
        _until(lambda: _is_here(cache, 2))
        check(cache, packed, 0)
        check(cache, packed, 2)
        with pytest.raises(BadInput, match="404"):
            cache.read(1, 0, 1)
        server.objects[f"/{packed.shards[1].name}"] = packed.data[1]
        check(cache, packed, 1)
    assert caplog.text.count("was not fetched ahead") == 1


def _is_here(cache: ShardCache, number: int) -> bool:
    return cache._folder.has(cache._names[number])


def _until(true, seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.mark.parametrize("fits", [0.5, 2])
@pytest.mark.parametrize("planned", [True, False])
def test_a_limit_below_a_window_makes_progress(
    planned: bool, fits: float, server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    """Samples of eight shards in random order; where it is planned, evicted shards are read on while they are open."""
    places = [(number, place) for number in range(8) for place in packed.places[number][:10]]
    random.Random(0).shuffle(places)
    with cache_of(server.address, packed, tmp_path, fits=fits) as cache:
        if planned:
            cache.prefetch([range(8)])
        for number, (offset, size) in places:
            assert cache.read(number, offset, size) == packed.data[number][offset : offset + size]
            assert here(tmp_path) <= max(1, fits)
    assert not planned or len(server.gets()) < 40


def test_what_others_read_is_evicted_last(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of(server.address, packed, tmp_path, fits=2) as other:
        check(other, packed, 0)
        with cache_of(server.address, packed, tmp_path, fits=2) as cache:
            for number in (1, 2, 3):
                check(cache, packed, number)
            assert _is_here(cache, 0)
            check(other, packed, 0)
    assert len(server.gets()) == 4


def test_what_a_dead_process_left_is_evicted(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of(server.address, packed, tmp_path, fits=2) as cache:
        cache._folder.file(cache._names[7], "part").write_bytes(bytes(100))
        for number in (0, 1, 2):
            check(cache, packed, number)
    assert here(tmp_path, "part") == 0


def test_foreign_files_in_the_folder_are_left_alone(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    (tmp_path / "notes.tar").write_bytes(bytes(10**6))
    with cache_of(server.address, packed, tmp_path, fits=1) as cache:
        check(cache, packed, 0)
        check(cache, packed, 1)
    assert (tmp_path / "notes.tar").exists()


def test_a_full_disk_makes_room_or_is_one_sentence(
    server: Faulty, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, [packed.size * 5 // 2]

    def full(file: int, data: bytes) -> int:
        used = sum(path.stat().st_size for path in tmp_path.iterdir())
        if used + len(data) > room[0]:
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    with cache_of(server.address, packed, tmp_path) as cache:
        for number in range(5):
            check(cache, packed, number)
        room[0] = 5000
        with pytest.raises(BadInput, match=r"cannot be written \(No space left on device\): free space"):
            cache.read(6, 0, 1)
        room[0] = 10**9
        check(cache, packed, 6)
