"""Any code folder is packed without leaving it, and any object names are written below one folder."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuyard.training_jobs import code_files
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.packaging import pack
from gpuyard.training_jobs.store.copies import file_names, write_below

SECRET = b"the content of a file outside"
_PART = st.sampled_from(["a", "b", "data", "...", "-rf", "a b", "\u202e", "é", "::error::", "\n", "x" * 200, "id_rsa", ".env", ".git"])
_PATH = st.lists(_PART, min_size=1, max_size=3).map("/".join)
_OUTSIDE = ["..", "../outside/secret", "/etc/passwd", "/proc/self/environ", "/proc/self/fd/0", "/dev/zero"]
_TARGET = st.sampled_from([*_OUTSIDE, ".", "a", "b/a", "nowhere"])
_ENTRY = st.tuples(st.sampled_from(["file", "link", "fifo", "folder", "hard link"]), _PATH, _TARGET)


@pytest.fixture(autouse=True)
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as git does outside a repository, without a process for each example."""
    monkeypatch.setattr(code_files, "_git", lambda *_: "not a git repository")


def make(root: Path, kind: str, name: str, target: str) -> None:
    path = root / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.write_bytes(name.encode())
        elif kind == "link":
            path.symlink_to(target)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            os.link(root / "train.py", path)
    except OSError:  # an earlier entry is in the way
        return


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(_ENTRY, max_size=8))
def test_a_tarball_has_only_files_of_its_folder(entries: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "outside").mkdir()
        (Path(folder) / "outside/secret").write_bytes(SECRET)
        root = Path(folder) / "code"
        root.mkdir()
        (root / "train.py").write_bytes(b"pass")
        for entry in entries:
            make(root, *entry)
        package = pack(root, ["train.py"])
        with tarfile.open(fileobj=io.BytesIO(package.data)) as tar:
            members = [member for member in tar if member.name.startswith("code/")]
            assert [member.name.removeprefix("code/") for member in members] == sorted(package.files)
            for member in members:
                assert member.isreg()
                assert ".." not in PurePosixPath(member.name).parts
                content = tar.extractfile(member)
                assert content is not None
                assert content.read() != SECRET
                source = (root / member.name.removeprefix("code/")).resolve()
                assert source.is_relative_to(root.resolve())
                assert not {"id_rsa", ".env", ".git"} & {source.name, PurePosixPath(member.name).name}
            tar.extractall(Path(folder) / "node", filter="data")


_ODD = ["a", "b", "..", ".", "", "\0", "x" * 300, ".object", "\ud800"]
_NAME = st.lists(st.text(max_size=3) | st.sampled_from(_ODD), max_size=4).map("/".join)


@settings(max_examples=200)
@given(names=st.lists(_NAME, max_size=12, unique=True))
def test_objects_of_any_names_become_different_files_below_the_folder(names: list[str]) -> None:
    left_out: list[str] = []
    found = file_names(names, left_out.append)
    files = list(found.values())
    assert len(set(files)) == len(files)
    assert len(found) + len(left_out) == len(names)
    for file in files:
        assert not {"", ".", ".."} & set(file.split("/"))
        assert not any(other.startswith(f"{file}/") for other in files)
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "into"
        for file in files:
            assert write_below(into, file, lambda path: bool(path.write_bytes(b"1")))
        assert sum(path.is_file() for path in into.rglob("*")) == len(files)
        assert os.listdir(folder) == (["into"] if files else [])


@pytest.mark.parametrize("part", ["", "a/"])
def test_a_download_is_not_written_through_a_link(tmp_path: Path, part: str) -> None:
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.mkdir()
    (into / "a").symlink_to(outside)
    if part:
        with pytest.raises(UsageError, match="is a link"):
            write_below(into, f"{part}b", lambda path: bool(path.write_bytes(b"1")))
    else:
        write_below(into, "a", lambda path: bool(path.write_bytes(b"1")))
        assert not (into / "a").is_symlink()
    assert os.listdir(outside) == []
