"""The local store: races of writers, and errors of the disk."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import AuthError, QuotaError, UsageError
from gpuyard.training_jobs.store import ChangedError, ExistsError, LocalStore, open_store, translate_os_error


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(f"file://{tmp_path}")


def test_one_of_many_concurrent_creates_succeeds(store: LocalStore, tmp_path: Path) -> None:
    def attempt(number: int) -> bool:
        try:
            store.create("runs/a/run.json", str(number).encode() * 1000)
        except ExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = [number for number, first in enumerate(pool.map(attempt, range(64))) if first]
    assert len(won) == 1
    assert (tmp_path / "runs/a/run.json").read_bytes() == str(won[0]).encode() * 1000
    assert os.listdir(tmp_path / "runs/a") == ["run.json"]


def test_replace_needs_the_tag_that_was_read(store: LocalStore) -> None:
    first = store.create("a", b"1")
    second = store.replace("a", b"2", first)
    with pytest.raises(ChangedError):
        store.replace("a", b"3", first)
    assert store.read("a") == (b"2", second)
    with pytest.raises(ChangedError):
        store.replace("nope", b"3", first)


def test_one_of_many_concurrent_replaces_of_a_tag_succeeds(store: LocalStore) -> None:
    tag = store.create("a", b"start")

    def attempt(number: int) -> bool:
        try:
            store.replace("a", str(number).encode(), tag)
        except ChangedError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(64))) == 1


def test_a_missing_object_and_a_missing_folder(store: LocalStore, tmp_path: Path) -> None:
    assert store.read("nope") is None
    assert store.names("nope") == []
    assert not store.exists("nope")
    assert store.download("nope", tmp_path / "into") == []


def test_a_folder_is_downloaded_with_all_its_objects(store: LocalStore, tmp_path: Path) -> None:
    store.create("run/output/a.json", b"a")
    store.create("run/output/deep/b.json", b"b")
    assert store.download("run/output", tmp_path / "into") == ["a.json", "deep/b.json"]
    assert (tmp_path / "into/deep/b.json").read_bytes() == b"b"


def test_links_and_special_files_are_not_copied(store: LocalStore, tmp_path: Path) -> None:
    store.create("run/output/a", b"a")
    output, into = tmp_path / "run/output", tmp_path / "into"
    (output / "secret").symlink_to("/etc/hostname")
    (output / "home").symlink_to("/etc")
    (output / "gone").symlink_to("nothing")
    os.mkfifo(output / "fifo")
    left_out: list[str] = []
    assert store.download("run/output", into, left_out.append) == ["a"]
    assert left_out == ["fifo: not a regular file", "gone: a link", "home: a link", "secret: a link"]
    (tmp_path / "other").symlink_to("run")
    assert store.download("other/output", into, left_out.append) == []
    assert left_out[-1] == "other/output: a link"


def test_a_url_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    open_store(folder.as_uri()).create("a", b"1")
    assert (folder / "a").read_bytes() == b"1"
    open_store(f"file://{folder}").create("b", b"1")
    assert (folder / "b").exists()


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown scheme"):
        open_store("ftp://host/bucket")


def test_a_full_disk_is_a_quota_error_and_changes_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel refuse the write, as a full disk does; SIGXFSZ is ignored by Python."""
    store = LocalStore(f"file://{tmp_path}")
    tag = store.create("a", b"before")
    code = (
        "import sys; from gpuyard.training_jobs.store import LocalStore; from gpuyard.training_jobs.errors import QuotaError\n"
        "try: LocalStore(sys.argv[1]).replace('a', bytes(100000), sys.argv[2])\n"
        "except QuotaError as error: print(error)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    done = subprocess.run(
        [sys.executable, "-B", "-c", code, f"file://{tmp_path}", tag], preexec_fn=limit, capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    assert "free some space" in done.stdout
    assert store.read("a") == (b"before", tag)
    assert os.listdir(tmp_path) == ["a"]


def test_an_os_error_becomes_a_gpuyard_error(tmp_path: Path) -> None:
    assert isinstance(translate_os_error(PermissionError(13, "Permission denied"), tmp_path), AuthError)
    assert isinstance(translate_os_error(OSError(30, "Read-only file system"), tmp_path), AuthError)
    assert isinstance(translate_os_error(OSError(28, "No space left on device"), tmp_path), QuotaError)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*file.*Not a directory"):
        LocalStore(f"file://{tmp_path}/file").create("a/b", b"")


def test_a_url_that_names_a_host_is_refused() -> None:
    with pytest.raises(UsageError, match="file URL with a host"):
        open_store("file://bucket/runs")


def test_a_download_onto_a_file_names_the_file(store: LocalStore, tmp_path: Path) -> None:
    store.create("run/a.json", b"a")
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="taken"):
        store.download("run", tmp_path / "taken")
