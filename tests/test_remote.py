"""Remote shards against real servers on loopback: whatever they do, the right bytes come or an error in time."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from servers import (
    NGINX,
    Fault,
    Faulty,
    chunked,
    cut,
    drop,
    faulty,
    flip,
    free_port,
    longer,
    nginx,
    redirect,
    send,
    stall,
    status,
    then,
    trickle,
    wait_for,
)

from data_prep.pack import Item, Shard, write_shard
from pipeline.data.remote import ShardCache, fetch
from pipeline.errors import BadInput

DEADLINE, STALL = 2.0, 0.2
SAMPLE = 1000


class Packed:
    """Shards of random bytes, and what each place of them holds."""

    def __init__(self, folder: Path, count: int, samples: int = 40) -> None:
        self.folder = folder
        self.shards: list[Shard] = []
        self.places: list[list[tuple[int, int]]] = []
        rng = random.Random(0)
        for number in range(count):
            items = [Item(f"{k:05d}", "jpg", rng.randbytes(SAMPLE), 0) for k in range(samples)]
            shard, places = write_shard(folder / f"train-{number:05d}.tar", items)
            self.shards.append(shard)
            self.places.append(places)
        self.data = [(folder / shard.name).read_bytes() for shard in self.shards]
        self.size = self.shards[0].bytes

    def objects(self) -> dict[str, bytes]:
        return {f"/{shard.name}": data for shard, data in zip(self.shards, self.data, strict=True)}

    def unhashed(self) -> list[Shard]:
        return [Shard(shard.name, shard.samples, shard.bytes, "") for shard in self.shards]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return Packed(tmp_path_factory.mktemp("shards"), 8)


@pytest.fixture
def server(packed: Packed) -> Iterator[Faulty]:
    with faulty(objects=packed.objects()) as server:
        yield server


@contextlib.contextmanager
def cache_of(
    address: str,
    packed: Packed,
    folder: Path,
    fits: float = 100,
    shards: list[Shard] | None = None,
    deadline: float = DEADLINE,
    verify: bool = True,
) -> Iterator[ShardCache]:
    shards = shards or packed.shards
    urls = [f"{address}/{shard.name}" for shard in shards]
    cache = ShardCache(urls, shards, folder, int(fits * packed.size), deadline, STALL, verify)
    try:
        yield cache
    finally:
        cache.close()


def check(cache: ShardCache, packed: Packed, number: int = 0) -> None:
    """Every sample of a shard, in random order, is the one that was packed."""
    places = list(packed.places[number])
    random.shuffle(places)
    for offset, size in places:
        assert cache.read(number, offset, size) == packed.data[number][offset : offset + size]


def here(folder: Path, kind: str = "tar") -> int:
    return len(list(folder.glob(f"*.{kind}")))


RECOVERED: dict[str, list[Fault]] = {
    "503 three times": [status(503)] * 3,
    "429 and 500": [status(429), status(500)],
    "a server that asks to wait": [status(503, Retry_After="1")],
    "dropped at once": [drop(0)],
    "dropped within the body, twice": [drop(9_000), drop(7_000)],
    "dropped at a member boundary": [drop(1024 * 5)],
    "dropped before the last byte": [drop(-1)],
    "silent before the answer": [stall(0, header=False)],
    "silent within the body": [stall(11_111)],
    "silent before the last byte": [stall(-1)],
    "no length, cut off": [cut(20_000, told=False)],
    "a short length, once": [cut(20_000, told=True)],
    "a short length on resuming": [drop(9_000), cut(100, told=True)],
    "chunks": [chunked()],
    "chunks, the last missing": [chunked(20_000)],
    "more bytes than it said": [longer, longer],
    "a wrong byte": [flip(12_345)],
    "a wrong byte before a drop": [lambda handler, answer: drop(20_000)(handler, _flipped(answer, 5))],
    "a redirect that is refused at first": [redirect("/elsewhere/nothing"), status(503)],
    "everything": [status(503), drop(3), stall(8_000), cut(9_000, told=False), flip(-1), drop(30_000)],
}
del RECOVERED["a redirect that is refused at first"]


def _flipped(answer, at: int):
    body = bytearray(answer.body)
    body[at] ^= 0xFF
    return type(answer)(answer.status, answer.headers, bytes(body))


@pytest.mark.parametrize("name", RECOVERED)
def test_recovers(name: str, server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.faults.extend(RECOVERED[name])
    with cache_of(server.address, packed, tmp_path, deadline=8.0) as cache:
        check(cache, packed)
        check(cache, packed, 1)
    assert not server.faults
    assert here(tmp_path) == 2 and here(tmp_path, "part") == here(tmp_path, "tag") == 0


FAILING: dict[str, tuple[Fault, str]] = {
    "503 for ever": (status(503), r"come within 2 s \(the server answered 503 Service Unavailable; 0 bytes had come\)"),
    "a wait beyond the deadline": (status(503, Retry_After="60"), "within 2 s"),
    "always silent": (stall(100, header=False), r"did not come within 2 s \(it fell silent; 0 bytes had come\)"),
    "always silent within the body": (stall(100), "within 2 s"),
    "always dropped": (drop(0), r"did not come within 2 s \(the connection closed early; 0 bytes had come\)"),
    "a byte now and then": (trickle, r"did not come within 2 s \(.*; [1-9]\d* bytes had come\)"),
    "always a short length": (cut(20_000, told=True), r"fetched twice \(20000 bytes, not \d+\): put the right file"),
    "always a wrong byte": (flip(12_345), r"fetched twice \(sha256 .*, not .*\): put the right file"),
    "round in circles": (redirect("/train-00000.tar"), "redirects more than 5 times"),
    "redirected to a file": (redirect("file:///etc/passwd"), "redirects to 'file', which is not followed"),
    "404": (status(404), r"train-00000.tar cannot be read \(the server answered 404 Not Found\): mend the address"),
    "403": (status(403), r"403 Forbidden\): mend the address or the rights"),
    "401": (status(401), "401"),
}


@pytest.mark.parametrize("name", FAILING)
def test_raises_within_the_deadline(name: str, server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.always, says = FAILING[name]
    began = time.monotonic()
    with cache_of(server.address, packed, tmp_path) as cache, pytest.raises(BadInput, match=says) as caught:
        cache.read(0, 0, 1)
    assert time.monotonic() - began < DEADLINE + 0.1
    assert "\n" not in str(caught.value)
    assert here(tmp_path) == 0
    if name in ("404", "403", "401"):
        assert len(server.seen) == 1 and time.monotonic() - began < 0.5


def test_a_server_that_is_not_there_is_one_sentence(packed: Packed, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with (
        cache_of(address, packed, tmp_path, deadline=0.5) as cache,
        pytest.raises(BadInput, match=r"within 0\.5 s \(the connection was refused; 0 bytes had come\)"),
    ):
        cache.read(0, 0, 1)


def test_a_failure_is_no_verdict_for_ever(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.always = status(404)
    with cache_of(server.address, packed, tmp_path) as cache:
        with pytest.raises(BadInput):
            cache.read(0, 0, 1)
        server.always = None
        check(cache, packed)


def test_goes_on_where_the_connection_was_dropped(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.faults.extend([drop(9_000), status(503), drop(7_000)])
    with cache_of(server.address, packed, tmp_path) as cache:
        check(cache, packed)
    assert [request.range for request in server.gets()] == [None, "bytes=9000-", "bytes=9000-", "bytes=16000-"]


def test_one_connection_serves_many_shards(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    ports: set[int] = set()

    def note(handler, answer) -> None:
        ports.add(handler.client_address[1])
        send(handler, answer)

    server.always = note
    with cache_of(server.address, packed, tmp_path) as cache:
        for number in range(8):
            check(cache, packed, number)
    assert len(ports) == 1


@pytest.mark.parametrize("tagged", [True, False])
def test_a_server_without_ranges_is_read_from_the_start(
    tagged: bool, server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    server.ranges, server.tagged = False, tagged
    server.faults.extend([drop(9_000), drop(20_000)])
    with cache_of(server.address, packed, tmp_path) as cache:
        check(cache, packed)
    assert len(server.gets()) == 3


def test_without_version_or_checksum_nothing_is_joined(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.tagged = False
    server.faults.append(drop(9_000))
    with cache_of(server.address, packed, tmp_path, shards=packed.unhashed()) as cache:
        check(cache, packed)
    assert [request.range for request in server.gets()] == [None, None]


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_are_never_joined(
    hashed: bool, if_range: bool, server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    """The object is replaced, at the same size, while its first half is here: with and without If-Range understood."""
    path = f"/{packed.shards[0].name}"
    server.objects[path] = bytes(packed.size - 1024) + bytes(1024)

    def replace() -> None:
        server.objects[path] = packed.data[0]

    def without_if_range(handler, answer) -> None:
        del handler.headers["If-Range"]
        send(handler, server.answer(handler))

    server.faults.append(then(replace, drop(9_000)))
    if not if_range:
        server.faults.append(without_if_range)
    with cache_of(server.address, packed, tmp_path, shards=None if hashed else packed.unhashed()) as cache:
        check(cache, packed)


def test_an_archive_that_is_cut_at_a_member_is_noticed_without_a_checksum(
    server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    """As long as the manifest says, and not ended as an archive is."""
    whole = packed.data[0]
    server.objects[f"/{packed.shards[0].name}"] = whole[:-1024] + whole[:1024]
    with (
        cache_of(server.address, packed, tmp_path, shards=packed.unhashed()) as cache,
        pytest.raises(BadInput, match=r"fetched twice \(no end-of-archive block\)"),
    ):
        cache.read(0, 0, 1)


def test_a_damaged_copy_is_renewed(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of(server.address, packed, tmp_path) as cache:
        check(cache, packed)
        (copy,) = tmp_path.glob("*.tar")
        copy.write_bytes(bytes(packed.size))
        assert not any(cache.read(0, 0, 100))
        cache.renew(0)
        check(cache, packed)
        cache.renew(0)
    assert len(server.gets()) == 2


def test_unverified_the_bytes_are_the_readers_to_check(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    server.faults.extend([flip(600), flip(600)])
    with cache_of(server.address, packed, tmp_path, verify=False) as cache:
        assert cache.read(0, 600, 1) != packed.data[0][600:601]
        cache.renew(0)
        check(cache, packed)
    server.always = flip(600)
    with cache_of(server.address, packed, tmp_path, verify=False) as cache:
        cache.read(1, 600, 1)
        with pytest.raises(BadInput, match="fetched twice"):
            cache.renew(1)


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
        cache._upcoming.follow(order)  # as prefetch does, without its threads
        for number in order:
            check(cache, packed, number)
    assert [request.path[-5 - 1 : -4] for request in server.gets()] == [f"{k:02d}" for k in (0, 1, 2, 3, 1)]


def test_a_shard_is_here_before_it_is_needed(server: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of(server.address, packed, tmp_path, fits=3) as cache:
        order = [5, 3, 1, 7, 0, 2, 6, 4]
        cache.prefetch(iter(order))
        for place, number in enumerate(order):
            _until(lambda number=number: _is_here(cache, number))
            requests = len(server.gets())
            check(cache, packed, number)
            ahead = order[place + 1 : place + 3]
            _until(lambda ahead=ahead: all(_is_here(cache, k) for k in ahead))
            assert here(tmp_path) + here(tmp_path, "part") <= 3
            assert requests <= place + 3
    assert len(server.gets()) == 8


def test_ahead_of_need_a_failure_waits_until_it_is_needed(
    server: Faulty, packed: Packed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del server.objects[f"/{packed.shards[1].name}"]
    with cache_of(server.address, packed, tmp_path) as cache:
        cache.prefetch([0, 1, 2])
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
@pytest.mark.parametrize("plan", ["none", "samples", "uses"])
def test_a_limit_below_a_window_makes_progress(
    plan: str, fits: float, server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    """Samples of eight shards in random order; with a plan of uses, evicted shards are read on while they are open."""
    places = [(number, place) for number in range(8) for place in packed.places[number][:10]]
    random.Random(0).shuffle(places)
    with cache_of(server.address, packed, tmp_path, fits=fits) as cache:
        if plan != "none":
            cache.prefetch(range(8) if plan == "uses" else [number for number, _ in places])
        for number, (offset, size) in places:
            assert cache.read(number, offset, size) == packed.data[number][offset : offset + size]
            assert here(tmp_path) <= max(1, fits)
    assert plan != "uses" or len(server.gets()) < 40


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


def test_a_folder_that_cannot_be_made_is_one_sentence(packed: Packed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"), cache_of("http://x", packed, tmp_path / "file" / "cache"):
        pass


@pytest.mark.parametrize("url", ["pipe:cat /etc/passwd", "train.tar", "http://me:secret@host/train.tar"])
def test_an_address_that_is_none_is_one_sentence(url: str, packed: Packed, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        ShardCache([url], packed.shards[:1], tmp_path, 1, 1.0)
    assert "secret" not in str(caught.value)
    with pytest.raises(BadInput):
        fetch(url, tmp_path / "x", 1.0)


def test_what_is_secret_in_an_address_is_not_told(server: Faulty, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing") as caught:
        fetch(f"{server.address}/nothing.json?signature=secret", tmp_path / "x", 1.0)
    assert "secret" not in str(caught.value)


def test_headers_of_ones_own_come_from_fsspec_and_stay_with_their_host(
    server: Faulty, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "https", {"headers": {"Authorization": "Bearer x"}})
    with faulty(objects=packed.objects()) as elsewhere:
        server.faults.append(redirect(f"{elsewhere.address}/{packed.shards[0].name}"))
        with cache_of(server.address, packed, tmp_path) as cache:
            check(cache, packed)
        assert server.seen[0].headers["Authorization"] == "Bearer x"
        assert "Authorization" not in elsewhere.seen[0].headers


def test_a_proxy_of_the_environment_is_used(
    server: Faulty, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = packed.shards[0].name
    server.objects[f"http://far.example/{name}"] = packed.data[0]
    monkeypatch.setenv("http_proxy", server.address.replace("//", "//me:word@"))
    monkeypatch.setenv("no_proxy", "")
    with cache_of("http://far.example", packed, tmp_path) as cache:
        check(cache, packed)
    assert server.seen[0].headers["Proxy-Authorization"] == "Basic bWU6d29yZA=="


def test_a_small_object_is_fetched_with_the_same_patience(server: Faulty, tmp_path: Path) -> None:
    server.objects["/set/dataset.json"] = b'{"name": "flowers"}' * 1000
    server.faults.extend([status(503), drop(100), cut(50, told=False)])
    path = tmp_path / "new" / "dataset.json"
    fetch(f"{server.address}/set/dataset.json", path, DEADLINE)
    assert path.read_bytes() == server.objects["/set/dataset.json"]
    server.objects["/set/dataset.json"] = b"{}"
    fetch(f"{server.address}/set/dataset.json", path, DEADLINE)
    assert path.read_bytes() == b"{}"
    server.always = status(503)
    with pytest.raises(BadInput, match=r"dataset.json did not come within 0\.3 s"):
        fetch(f"{server.address}/set/dataset.json", path, 0.3)
    assert [path.name for path in path.parent.iterdir()] == ["dataset.json"]
    assert path.read_bytes() == b"{}"


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx(packed: Packed, tmp_path: Path) -> None:
    for folder in ("work", "cache", "broken"):
        (tmp_path / folder).mkdir()
    with nginx(packed.folder, tmp_path / "work") as address:
        with cache_of(address, packed, tmp_path / "cache", fits=3) as cache:
            cache.prefetch(range(8))
            for number in range(8):
                check(cache, packed, number)
        log = (tmp_path / "work" / "access.log").read_text()
        assert log.count(" 200 ") == 8
        with faulty(upstream=address.removeprefix("http://")) as between:
            between.faults.extend([status(503), drop(9_000), stall(5_000), cut(3_000, told=False)])
            with cache_of(between.address, packed, tmp_path / "broken") as cache:
                check(cache, packed, 4)
            ranges = [request.range for request in between.gets()]
        assert ranges == [None, None, "bytes=9000-", "bytes=14000-", "bytes=17000-"]
        with pytest.raises(BadInput, match="404 Not Found"):
            fetch(f"{address}/nothing", tmp_path / "x", 1.0)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    port = free_port()
    with (tmp_path_factory.mktemp("moto") / "log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def bucket(moto: str, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """An S3 server with the shards in s3://data, behind one that misbehaves."""
    with faulty(upstream=moto) as between:
        options = {"key": "a", "secret": "b", "endpoint_url": between.address}
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setitem(fsspec.config.conf, "s3", options)
        fs = fsspec.filesystem("s3")
        with contextlib.suppress(FileExistsError):
            fs.mkdir("data")
        for name, data in packed.objects().items():
            fs.pipe_file(f"data{name}", data)
        between.seen.clear()
        yield between


def test_s3(bucket: Faulty, packed: Packed, tmp_path: Path) -> None:
    with cache_of("s3://data", packed, tmp_path, fits=3) as cache:
        cache.prefetch(range(8))
        for number in range(8):
            check(cache, packed, number)
    assert len(bucket.gets("train")) == 8
