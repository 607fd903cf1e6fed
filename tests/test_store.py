import os
import stat
import threading
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.lease import Lease, held
from pipeline.store import Store


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}")


def test_bytes_come_back_and_keys_are_listed(store: Store) -> None:
    store.put("a/b.json", b"1")
    store.put("a/c/d.json", b"2")
    store.put("a/b.json", b"3")
    assert store.get("a/b.json") == b"3"
    assert store.get("a/nothing") is None
    assert store.keys("a") == ["a/b.json", "a/c/d.json"]
    assert store.keys("other") == []
    store.delete("a/b.json")
    store.delete("a/b.json")
    assert not store.exists("a/b.json")


def test_create_succeeds_exactly_once(store: Store) -> None:
    won: list[int] = []
    threads = [
        threading.Thread(target=lambda i=i: store.create("x/once", str(i).encode()) and won.append(i)) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 or store.local is None
    assert not store.create("x/once", b"late")
    assert store.get("x/once") != b"late"


def test_no_temporary_file_is_left_or_listed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("a/x", b"1")
    store.create("a/x", b"2")
    (tmp_path / "a" / ".y.tmp").write_bytes(b"")
    assert store.keys("a") == ["a/x"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [".y.tmp", "x"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        Store(str(file / "runs")).check_writable()
    if os.getuid() != 0:
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(BadInput, match="cannot be written"):
            Store(str(tmp_path / "runs")).check_writable()


def test_an_unknown_protocol_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="cannot be opened"):
        Store("nonsense://x").get("k")


def test_a_lease_keeps_others_out_until_released(store: Store) -> None:
    first, second = Lease(store, "k/1", 60), Lease(store, "k/1", 60)
    assert first.acquire()
    assert held(store, "k/1")
    assert not second.acquire()
    first.release()
    assert second.acquire()


def test_an_expired_lease_is_taken_over(store: Store) -> None:
    assert Lease(store, "k", -1).acquire()
    assert not held(store, "k")
    assert Lease(store, "k", 60).acquire()


def test_the_lease_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    child = os.fork()
    if child == 0:
        Lease(store, "k", 3600).acquire()
        os._exit(0)
    os.waitpid(child, 0)
    assert not held(store, "k")
    assert Lease(store, "k", 60).acquire()


def test_a_store_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    class Silent(fsspec.AbstractFileSystem):
        protocol = "silent"

        def info(self, path: str, **options: object) -> dict:
            raise RuntimeError("no credentials\nand a long story")

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
            raise RuntimeError("no credentials\nand a long story")

        def exists(self, path: str, **options: object) -> bool:
            return bool(self.info(path))

    fsspec.register_implementation("silent", Silent, clobber=True)
    for check in (Store("silent://x").check_readable, Store("silent://x").check_writable):
        with pytest.raises(BadInput, match=r"silent://x.*\(no credentials\): mend that") as caught:
            check()
        assert "\n" not in str(caught.value)
