"""Data in the buckets of a yard: it is there before a job is paid for, and `gpuyard upload` puts it there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.local import LocalBackend
from gpuyard.training_jobs.errors import AuthError, UsageError
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.store import LocalStore
from gpuyard.training_jobs.target import JobTarget
from gpuyard.training_jobs.yard_data import check_data, files_to_send, yard_folder
from tests.helpers.local_pool import job, make_target


@pytest.fixture
def target(tmp_path: Path) -> JobTarget:
    (tmp_path / "yard").mkdir()
    return make_target(tmp_path / "yard")


def put(target: JobTarget, path: str) -> None:
    LocalStore(target.run_bucket).create(path, b"1")


@pytest.mark.parametrize("there", ["data/tokens", "data/tokens/part-0", "data/tokens/deep/part-0"])
@pytest.mark.parametrize("entry", ["yard://runs/data/tokens", {"url": "yard://runs/data/tokens", "mount": "copy"}], ids=["url", "copy"])
def test_an_object_or_a_folder_is_data(target: JobTarget, there: str, entry: object) -> None:
    spec = job(data={"tokens": entry, "other": "s3://elsewhere/x"})
    with pytest.raises(UsageError) as caught:
        check_data(spec, target)
    fix = "gpuyard upload PATH yard://runs/data/tokens, or correct the path"
    assert f"data.tokens: nothing is there, got yard://runs/data/tokens; {fix}" in str(caught.value)
    put(target, there)
    put(target, f"{there}-2")
    check_data(spec, target)


def test_a_bucket_that_only_jobs_may_read_is_not_checked(target: JobTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> list[str]:
        raise AuthError("403")

    monkeypatch.setattr(LocalStore, "names", refused)
    check_data(job(data={"tokens": "yard://runs/none"}), target)


def test_a_submit_without_its_data_writes_nothing(target: JobTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalBackend, "submit", lambda *_: pytest.fail("a job was started"))
    runner = Runner({"local": target})
    with pytest.raises(UsageError, match=r"data\.tokens: nothing is there"):
        runner.submit(job(data={"tokens": "yard://runs/none"}), None)
    assert runner.runs() == []


@pytest.mark.parametrize(
    "url", ["s3://runs/x", "yard://runs", "yard://runs/", "yard://runs/../x", "yard://runs/a//b", "yard://runs/gpuyard/x"]
)
def test_a_place_outside_the_data_of_a_bucket_is_refused(target: JobTarget, url: str) -> None:
    with pytest.raises(UsageError, match="nothing was sent"):
        yard_folder(url, {"local": target}, "stack 'dev'")


def test_a_folder_is_sent_without_links_and_only_once(target: JobTarget, tmp_path: Path) -> None:
    source = tmp_path / "corpus"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_text("a")
    (source / "deep" / "b").write_text("b")
    (source / "link").symlink_to("a")
    (source / "out").symlink_to("/etc")
    files, left_out = files_to_send(source, "yard://runs/data/c")
    assert ([file.name for file in files], left_out) == (["a", "deep/b"], ["link: a link", "out: a link"])
    place = yard_folder("yard://runs/data/c", {"local": target}, "stack 'dev'")
    assert [file.send(place) for file in files] == [True, True]
    assert [file.send(place) for file in files] == [False, False]
    (source / "a").write_text("changed")
    assert [file.send(place) for file in files] == [True, False]
    assert (place.store.read("data/c/a") or (None,))[0] == b"changed"


@pytest.mark.parametrize(("url", "path"), [("yard://runs/data/one.txt", "data/one.txt"), ("yard://runs/data/", "data/a.txt")])
def test_a_single_file_gets_the_path_of_the_url_or_its_name_below_it(target: JobTarget, tmp_path: Path, url: str, path: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    (file,), _ = files_to_send(tmp_path / "a.txt", url)
    place = yard_folder(url, {"local": target}, "stack 'dev'")
    file.send(place)
    assert place.store.exists(path)


def test_an_empty_folder_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(UsageError, match="nothing was sent"):
            files_to_send(tmp_path / name, "yard://runs/x")
