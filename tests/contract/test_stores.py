"""The contract of every store, on a folder and in each cloud: an object is created once, and a stale tag is refused, under concurrency."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.lifecycle.journal import Journal
from gpuyard.training_jobs.store import ChangedError, ExistsError, LocalStore, Store, UnreadableError, local, open_store, prefixed
from tests.fakes.aws.moto_server import moto
from tests.fakes.azure.blob_storage import storage as azure_storage
from tests.helpers.gcs_bucket import storage


@pytest.fixture(params=["local", "s3", "s3-prefix", "gs", "gs-prefix", "abfs", "abfs-prefix"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "local":
        (tmp_path / "bucket").mkdir()
        yield (tmp_path / "bucket").as_uri()
        return
    scheme, _, prefix = request.param.partition("-")
    if scheme == "abfs":
        with azure_storage(tmp_path, monkeypatch) as found:
            yield f"{found.url}/team/a" if prefix else found.url
        return
    with moto(monkeypatch, "runs") if scheme == "s3" else storage(monkeypatch, "runs", page=2):
        yield f"{scheme}://runs/team/a" if prefix else f"{scheme}://runs"


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


def test_concurrent_creates_succeed_once(store: Store) -> None:
    def attempt(number: int) -> str | None:
        try:
            return store.create("runs/a/run.json", str(number).encode() * 1000)
        except ExistsError:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = {number: tag for number, tag in enumerate(pool.map(attempt, range(48))) if tag is not None}
    ((number, tag),) = won.items()
    assert store.read("runs/a/run.json") == (str(number).encode() * 1000, tag)
    assert store.names("runs/a") == ["run.json"]


def test_a_removed_object_is_gone_and_may_be_removed_again(store: Store) -> None:
    store.create("queue/in/a", b"1")
    store.create("queue/in/b", b"2")
    for _ in range(2):
        store.remove("queue/in/a")
    assert (store.read("queue/in/a"), store.names("queue/in")) == (None, ["b"])
    store.create("queue/in/a", b"3")


def test_one_of_several_concurrent_replaces_of_a_tag_succeeds(store: Store) -> None:
    tag = store.create("a", b"start")

    def attempt(number: int) -> str | None:
        try:
            return store.replace("a", str(number).encode(), tag)
        except ChangedError:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = {number: tag for number, tag in enumerate(pool.map(attempt, range(48))) if tag is not None}
    ((number, new),) = won.items()
    assert store.read("a") == (str(number).encode(), new)


def test_replace_needs_the_current_tag(store: Store) -> None:
    first = store.create("a", b"1")
    second = store.replace("a", b"2", first)
    with pytest.raises(ChangedError):
        store.replace("a", b"3", first)
    assert store.read("a") == (b"2", second)
    with pytest.raises(ChangedError):
        store.replace("nope", b"3", first)
    assert not store.exists("nope")


def test_missing_objects(store: Store, tmp_path: Path) -> None:
    assert store.read("nope") is None
    assert store.names("nope") == []
    assert not store.exists("nope")
    assert store.download("nope", tmp_path / "into") == []


def test_an_object_of_more_bytes_than_wanted_is_not_read(store: Store) -> None:
    store.create("runs/a/large", b"x" * 100)
    store.create("runs/a/empty", b"")
    assert (store.read("runs/a/large", 100) or (b"",))[0] == b"x" * 100
    assert (store.read("runs/a/empty", 100) or (b"?",))[0] == b""
    with pytest.raises(UnreadableError, match="larger than 99 bytes"):
        store.read("runs/a/large", 99)


def test_a_file_is_sent_once_and_again_when_it_changed(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "tokens.bin"
    for content in (b"x" * 9_000_000, b"", b"other"):  # the clients split the first one
        file.write_bytes(content)
        digest, sent = local.file_digest(file), list[int]()
        assert store.send("data/deep/tokens.bin", file, digest, sent.append)
        assert sum(sent) == len(content)
        assert not store.send("data/deep/tokens.bin", file, digest, sent.append)
        assert sum(sent) == len(content), "a file that is there was sent"
        assert (store.read("data/deep/tokens.bin", 10**7) or (None,))[0] == content
    tag = (store.read("data/deep/tokens.bin") or (b"", ""))[1]
    store.replace("data/deep/tokens.bin", b"by hand", tag)
    assert store.send("data/deep/tokens.bin", file, digest), "the object has another content now"
    with pytest.raises(UsageError, match=r"cannot (read|write) .*gone"):
        store.send("data/deep/x", tmp_path / "gone", "0")


def test_names_lists_only_objects_directly_in_the_folder(store: Store) -> None:
    for path in ("runs/b/run.json", "runs/a/run.json", "runs/a/output/deep/x", "runs/c", "runs2/d"):
        store.create(path, b"1")
    assert store.names("runs") == ["a", "b", "c"]
    assert store.names("runs/a") == ["output", "run.json"]
    assert store.exists("runs/a/run.json")


def test_a_listing_of_more_entries_than_wanted_ends(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in ("runs/a/1", "runs/a/2", "runs/a/deep/x", "runs/a/deep/y"):
        store.create(path, b"1")
    assert store.names("runs/a", 3) == ["1", "2", "deep"]
    with pytest.raises(UnreadableError, match=r"runs/a/ was not listed: more than 2 objects"):
        store.names("runs/a", 2)
    for module in (local, prefixed):
        monkeypatch.setattr(module, "MAX_DOWNLOADS", 3)
    with pytest.raises(UnreadableError, match=r"runs/a/ was not listed: more than 3 objects"):
        store.download("runs/a", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_folder_is_copied_completely(store: Store, tmp_path: Path) -> None:
    big = bytes(range(256)) * 40_000  # more than one part
    store.create("run/output/a.json", b"a")
    store.create("run/output/deep/b.bin", big)
    store.create("run/output2/c", b"c")
    assert store.download("run/output", tmp_path / "into") == ["a.json", "deep/b.bin"]
    assert (tmp_path / "into/a.json").read_bytes() == b"a"
    assert (tmp_path / "into/deep/b.bin").read_bytes() == big


def test_an_object_that_is_also_a_folder_is_copied_beside_it(store: Store, tmp_path: Path) -> None:
    if isinstance(store, LocalStore):
        pytest.skip("a folder of this machine cannot hold both")
    for name in ("a", "a/b", "a.object", "c/" + "x" * 300):
        store.create(f"run/output/{name}", name.encode())
    left_out: list[str] = []
    files = store.download("run/output", tmp_path / "into", left_out.append)
    assert {(tmp_path / "into" / file).read_bytes() for file in files} == {b"a", b"a/b", b"a.object"}
    assert sorted(files) == ["a.object", "a.object.object", "a/b"]
    assert left_out == [f"c/{'x' * 300}: no file can have this name"]


def test_nothing_is_written_through_a_link(store: Store, tmp_path: Path) -> None:
    store.create("run/output/a", b"new")
    store.create("run/output/deep/b", b"new")
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "precious").write_text("old")
    (into / "a").symlink_to(tmp_path / "precious")
    assert store.download("run/output", into) == ["a", "deep/b"]
    assert ((tmp_path / "precious").read_text(), (into / "a").read_text(), (into / "a").is_symlink()) == ("old", "new", False)
    shutil.rmtree(into / "deep")
    (into / "deep").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="deep is a link"):
        store.download("run/output", into)


def test_copying_onto_a_file_names_the_file(store: Store, tmp_path: Path) -> None:
    store.create("run/a.json", b"a")
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="taken"):
        store.download("run", tmp_path / "taken")


def test_code_is_stored_once_and_found_by_its_digest(url: str) -> None:
    journal = Journal(url)
    with ThreadPoolExecutor(8) as pool:
        urls = set(pool.map(lambda _: journal.store_code("0" * 64, b"tarball"), range(8)))
    assert urls == {f"{url}/gpuyard/code/{'0' * 64}.tar.gz"}
