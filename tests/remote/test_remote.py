"""Remote shards over real servers on loopback: whatever they do, the right bytes come or an error in time."""

import random
import shutil
import subprocess
import time
from pathlib import Path

import fsspec.config
import pytest
from packed import DEADLINE, Packed, cache_of, check, here
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
)

from pipeline.data.remote import ShardCache, fetch, http
from pipeline.errors import BadInput

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
    "everything": [status(503), drop(3), stall(8_000), cut(9_000, told=False), flip(-1), drop(30_000)],
}


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
    "503 for ever": (status(503), r"come within 1 s \(the server answered 503 Service Unavailable; 0 bytes had come\)"),
    "a wait beyond the deadline": (status(503, Retry_After="60"), "within 1 s"),
    "always silent": (stall(100, header=False), r"did not come within 1 s \(it fell silent; 0 bytes had come\)"),
    "always silent within the body": (stall(100), "within 1 s"),
    "always dropped": (drop(0), r"did not come within 1 s \(the connection closed early; 0 bytes had come\)"),
    "a byte now and then": (trickle, r"did not come within 1 s \(.*; [1-9]\d* bytes had come\)"),
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


def test_every_protocol_that_fsspec_knows_is_read(packed: Packed, tmp_path: Path) -> None:
    with cache_of(f"file://{packed.folder}", packed, tmp_path) as cache:
        check(cache, packed, 3)
    with (
        cache_of("nonsense://there", packed, tmp_path / "other") as cache,
        pytest.raises(BadInput, match="Protocol not known: nonsense"),
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


@pytest.mark.parametrize("faults", [[], [drop(1_000_001)], [stall(700_001)], [cut(900_000, told=False)]])
@pytest.mark.parametrize("pace", [0.0, 0.0003])
def test_a_body_of_many_blocks(faults: list[Fault], pace: float, server: Faulty, tmp_path: Path) -> None:
    """So many that the kernel is told to wait for whole ones; then the connection goes on being used."""
    data = random.Random(0).randbytes(2_000_003)
    server.objects["/large"] = data
    server.faults.extend(faults)
    server.pace = pace
    for _ in range(2):
        fetch(f"{server.address}/large", tmp_path / "large", 20.0, 1.5)
        assert (tmp_path / "large").read_bytes() == data
    fetch(f"{server.address}/train-00000.tar", tmp_path / "small", 20.0, 1.5)
    started = [int((request.range or "bytes=0-")[6:-1]) for request in server.gets("large")]
    assert len(started) == 2 + len(faults)
    assert not faults or started[1] > 400_000


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


@pytest.mark.parametrize("right", [True, False])
def test_what_was_whole_when_a_process_was_killed_is_checked(
    right: bool, server: Faulty, packed: Packed, tmp_path: Path
) -> None:
    with cache_of(server.address, packed, tmp_path) as cache:
        part = cache._folder.file(cache._names[0], "part")
        part.write_bytes(packed.data[0] if right else bytes(packed.size))
        check(cache, packed)
    assert len(server.gets()) == (0 if right else 1)


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


def test_a_folder_that_cannot_be_made_is_one_sentence(packed: Packed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"), cache_of("http://x", packed, tmp_path / "file" / "cache"):
        pass


@pytest.mark.parametrize("url", ["http:///nothing", "http://host:port/x", "http://" + "a" * 70 + "/x"])
def test_an_address_without_a_host_is_one_sentence(url: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(BadInput, match=r"cannot be read \(the address is not valid"):
        fetch(url, tmp_path / "x", 5.0)
    assert time.monotonic() - began < 1.0


def test_names_need_no_quoting(server: Faulty, tmp_path: Path) -> None:
    server.objects["/a%20b/%C3%A9%2B.json?x=1&y=%20"] = b"{}"
    fetch(f"{server.address}/a b/é%2B.json?x=1&y= ", tmp_path / "x", DEADLINE)
    assert (tmp_path / "x").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "url", ["http://[x/train.tar", "pipe:cat /etc/passwd", "train.tar", "http://me:secret@host/train.tar"]
)
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


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_certificate_is_checked(
    server: Faulty, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    name = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *name], check=True, capture_output=True)
    with faulty(objects=packed.objects(), certificate=(certificate, key)) as secure:
        with (
            cache_of(secure.address, packed, tmp_path / "1") as cache,
            pytest.raises(BadInput, match=r"its certificate is not trusted \(self-signed certificate\)"),
        ):
            cache.read(0, 0, 1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        http._tls.cache_clear()
        secure.faults.append(drop(9_000))
        with cache_of(secure.address, packed, tmp_path / "2") as cache:
            check(cache, packed)
    http._tls.cache_clear()


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
    server.always, server.ranges = cut(1, told=False), False
    with pytest.raises(BadInput, match="the server does not say how long it is"):
        fetch(f"{server.address}/set/dataset.json", path, 0.3)
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
            cache.prefetch([number] for number in range(8))
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
