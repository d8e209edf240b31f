"""The files of a code folder that are sent: those that git would add, and a reason for each other entry."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuyard.training_jobs.code_files import job_code_folder, list_code
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.packaging import pack

_IDENTITY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]} | {
    f"GIT_{role}_{part}": "tester@acme.io" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "protocol.file.allow=always", *arguments], cwd=folder, env=_IDENTITY, check=True, capture_output=True)


def make(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def repository(folder: Path, files: dict[str, str]) -> Path:
    make(folder, files)
    git(folder, "init", "-q")
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "first")
    return folder


def sent(folder: Path, *leave_out: Path) -> set[str]:
    return set(list_code(folder, leave_out).files)


def test_ignore_rules_up_to_the_repositorys_root_apply(tmp_path: Path) -> None:
    root = repository(tmp_path, {".gitignore": ".env\n*.ckpt\nwandb/\n/train/only-here\n", "train/train.py": ""})
    make(root, {"train/.env": "", "train/last.ckpt": "", "train/wandb/run": "", "train/only-here": "", "train/new.py": ""})
    (root / ".git/info/exclude").write_text("*.scratch\n")
    make(root, {"train/a.scratch": ""})
    assert sent(root / "train") == {"train.py", "new.py"}


def test_ignore_rules_above_a_repository_do_not_apply(tmp_path: Path) -> None:
    make(tmp_path, {".gitignore": "*.py\n"})
    assert sent(repository(tmp_path / "repo", {"train.py": ""})) == {"train.py"}


def test_tracked_files_are_sent_whatever_the_ignore_rules(tmp_path: Path) -> None:
    root = repository(tmp_path, {"train.py": "", "data/small.bin": "", "notes.log": "", "build/tool.py": ""})
    make(root, {".gitignore": "*.log\ndata/\nbuild/\n", "other.log": "", "data/large.bin": "", "__pycache__/x.pyc": ""})
    assert sent(root) == {".gitignore", "train.py", "notes.log", "data/small.bin", "build/tool.py"}


@pytest.mark.parametrize("line", ["!", "\\", "foo\\", "[z-a]"])
def test_an_ignore_line_that_git_skips_is_skipped(tmp_path: Path, line: str) -> None:
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbf*.log\r\n" + line.encode() + b"\n*.tmp\n")
    make(tmp_path, {"a.log": "", "b.tmp": "", "train.py": ""})
    assert sent(tmp_path) == {".gitignore", "train.py"}


def test_links_inside_the_folder_are_followed_and_others_reported(tmp_path: Path) -> None:
    folder = make(tmp_path / "train", {"train.py": "", "configs/a.yaml": "a", "deep/x.py": ""})
    make(tmp_path, {"shared/configs/b.yaml": ""})
    links = {"same": "configs", "a.yaml": "configs/a.yaml", "outside": "../shared/configs", "nothing": "gone", "deep/up": "..", "me": "me"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    found = list_code(folder)
    assert set(found.files) == {"train.py", "configs/a.yaml", "same/a.yaml", "a.yaml", "deep/x.py"}
    reasons = dict(line.split(": ", 1) for line in found.left_out)
    assert set(reasons) == {"outside", "nothing", "deep/up", "me"}
    assert reasons["outside"].startswith("a link that leaves the code folder; copy its target")
    assert (reasons["nothing"], reasons["me"], reasons["deep/up"]) == (
        "a broken link",
        "a broken link",
        "a link to a folder that contains the link",
    )


def test_an_entry_that_is_not_a_file_is_reported(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train.py": ""})
    os.mkfifo(folder / "pipe")
    (folder / "logs").mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / "sock"))
        assert list_code(folder).left_out == [
            "logs: an empty folder, which git does not store",
            "pipe: not a regular file",
            "sock: not a regular file",
        ]


def test_a_folder_with_nothing_to_send_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {".gitignore": "*\n", "train.py": ""})
    with pytest.raises(UsageError, match=r"code: no file to send.*correct \.gitignore"):
        list_code(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        list_code(tmp_path / "gone")


def test_an_unreadable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"train.py": "", "private/x.py": ""})
    listed = Path.iterdir

    def iterdir(folder: Path) -> object:
        if folder.name == "private":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(UsageError, match=r"Permission denied, got .*private"):
        list_code(tmp_path)


@pytest.mark.parametrize("name", ["private/.git", ".gitignore", ".git/info/exclude", "train.py"])
def test_an_entry_without_permission_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make(repository(tmp_path, {"train.py": ""}), {".gitignore": "", "private/x.py": ""})
    status, text, data = Path.stat, Path.read_text, Path.read_bytes

    def denied(read: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, **options: object) -> object:
            if path == tmp_path / name and (read is not status or "private" in name):
                raise PermissionError(13, "Permission denied", str(path))
            return read(path, **options)

        return call

    for method, read in (("stat", status), ("read_text", text), ("read_bytes", data)):
        monkeypatch.setattr(Path, method, denied(read))
    with pytest.raises(UsageError, match=rf"Permission denied, got .*{name}; make it readable, or add it to .gitignore"):
        pack(tmp_path, ["train.py"])


@pytest.mark.parametrize("text", ["gitdir: a\0b", "gitdir: ../..", "", "hello"])
def test_a_git_file_of_any_content_is_no_internal_error(tmp_path: Path, text: str) -> None:
    make(tmp_path, {"train.py": "", "inner/.git": text, "inner/x.py": ""})
    assert sent(tmp_path) == {"train.py", "inner/x.py"}


def test_a_git_file_that_names_no_possible_path_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"train.py": "", "inner/.git": f"gitdir: {'a' * 5000}"})
    with pytest.raises(UsageError, match="File name too long"):
        list_code(tmp_path)


def test_files_outside_a_sparse_checkout_are_reported(tmp_path: Path) -> None:
    root = repository(tmp_path, {"train.py": "", "configs/a.yaml": "", "configs/b.yaml": ""})
    git(root, "sparse-checkout", "set", "--no-cone", "/train.py")
    assert list_code(root).left_out == ["2 tracked files outside the sparse checkout; run `git sparse-checkout disable`"]


def test_a_pointer_of_git_lfs_is_reported(tmp_path: Path) -> None:
    make(tmp_path, {"train.py": "", "model.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"})
    assert pack(tmp_path, ["train.py"]).left_out == (
        "model.bin: the file itself, because only its Git LFS pointer is here; run `git lfs pull`",
    )


def test_a_worktree_of_a_commit_has_the_digest_of_the_clone(tmp_path: Path) -> None:
    root = repository(tmp_path / "main", {"train.py": "x", ".gitignore": "*.log\n"})
    git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "other"))
    (root / ".git/info/exclude").write_text("*.scratch\n")
    make(tmp_path / "other", {"a.scratch": "", "b.log": ""})
    assert (tmp_path / "other/.git").is_file()
    assert pack(root, ["train.py"]).digest == pack(tmp_path / "other", ["train.py"]).digest


def test_submodules_are_sent_if_checked_out_and_else_reported(tmp_path: Path) -> None:
    library = repository(tmp_path / "library", {"lib.py": "", "data.log": ""})
    root = repository(tmp_path / "main", {"train.py": "", ".gitignore": "*.log\n"})
    git(root, "submodule", "add", "-q", str(library), "vendor")
    git(root, "commit", "-qm", "second")
    assert sent(root) == {"train.py", ".gitignore", ".gitmodules", "vendor/lib.py", "vendor/data.log"}
    git(tmp_path, "clone", "-q", str(root), "clone")
    found = list_code(tmp_path / "clone")
    assert "vendor/lib.py" not in found.files
    assert "vendor: a submodule that is not checked out; run `git submodule update --init`" in found.left_out


def test_the_job_file_is_not_sent(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train.py": "", "job.yaml": "queue_timeout: 1h", "other.yaml": ""})
    assert sent(folder, folder / "job.yaml") == {"train.py", "other.yaml"}
    before = pack(folder, ["train.py"], leave_out=[folder / "job.yaml"]).digest
    (folder / "job.yaml").write_text("queue_timeout: 2h")
    assert pack(folder, ["train.py"], leave_out=[folder / "job.yaml"]).digest == before


def test_the_job_file_is_not_sent_when_a_link_names_it(tmp_path: Path) -> None:
    make(tmp_path, {"train/train.py": "", "train/job.yaml": "name: job\n"})
    (tmp_path / "nightly.yaml").symlink_to("train/job.yaml")
    (tmp_path / "train/current.yaml").symlink_to("job.yaml")
    (tmp_path / "link").symlink_to("train")
    for folder in (tmp_path / "train", tmp_path / "link"):
        for given in (tmp_path / "nightly.yaml", folder / "current.yaml", tmp_path / "train/job.yaml"):
            assert sent(folder, given) == {"train.py"}


def test_the_output_of_the_submit_itself_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, {"train.py": "", "cron.log": "the output of the last submit\n"})
    with (tmp_path / "cron.log").open("a") as log:
        monkeypatch.setattr("gpuyard.training_jobs.code_files._OUTPUTS", (log.fileno(),))
        found = list_code(tmp_path)
    assert (set(found.files), found.left_out) == ({"train.py"}, ["cron.log: the output of this command goes there"])


def test_names_that_are_not_utf_8_are_sent(tmp_path: Path) -> None:
    make(tmp_path, {"train.py": ""})
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    assert len(pack(tmp_path, ["train.py"]).files) == 2


def test_without_git_only_the_ignore_rules_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path, {"train.py": "", "notes.log": ""})
    make(root, {".gitignore": "*.log\n"})
    monkeypatch.setenv("PATH", "")
    found = list_code(root)
    assert set(found.files) == {".gitignore", "train.py"}
    note = "tracked files that an ignore rule names, because git cannot list them: git: No such file or directory"
    assert found.left_out == [note]


_KEY_FILES = [".env", ".env.production", "deploy/id_ed25519", "tls.key", "server.PEM", "credentials.json", ".aws/credentials", "kubeconfig"]


def test_keys_are_left_out_and_named(tmp_path: Path) -> None:
    make(tmp_path, {**dict.fromkeys(_KEY_FILES, "x"), "train.py": "", ".env.example": "", "id_rsa.pub": "", "keys.py": ""})
    (tmp_path / "notes.txt").symlink_to(".env")
    found = list_code(tmp_path)
    assert set(found.files) == {"train.py", ".env.example", "id_rsa.pub", "keys.py"}
    reasons = dict(line.split(": ", 1) for line in found.left_out)
    assert set(reasons) == {*_KEY_FILES, ".aws", "notes.txt"} - {".aws/credentials"}
    assert reasons["tls.key"] == "looks like a key or a password file; if the job needs it, add the line `!tls.key` to .gitignore"


def test_a_key_that_is_named_is_sent(tmp_path: Path) -> None:
    root = repository(tmp_path, {"train.py": "", "certs/test.pem": ""})  # tracked: it was named to git
    make(root, {".gitignore": "!.env\n!/.aws/\n", ".env": "", ".aws/config": "", "other.pem": ""})
    assert sent(root) == {"train.py", "certs/test.pem", ".gitignore", ".env", ".aws/config"}


@pytest.mark.parametrize("code", ["/etc", "../..", "../../other", "/proc/self", "/", "link/up"])
def test_a_code_folder_outside_the_repository_is_refused(tmp_path: Path, code: str) -> None:
    root = repository(tmp_path / "repo", {"jobs/job.yaml": "", "src/train.py": ""})
    (root / "jobs/link").symlink_to("..")
    (root / "up").symlink_to("../..")
    with pytest.raises(UsageError, match="outside the job file's repository"):
        job_code_folder(root / "jobs", code)
    assert job_code_folder(root / "jobs", "..") == root / "jobs/.."
    assert job_code_folder(root / "jobs", str(root / "src")) == root / "src"


def test_a_code_folder_that_is_a_loop_of_links_is_missing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="no such folder"):
        list_code(job_code_folder(tmp_path, "loop"))


def test_without_a_repository_the_code_is_near_the_job_file(tmp_path: Path) -> None:
    make(tmp_path, {"jobs/src/train.py": ""})
    assert job_code_folder(tmp_path / "jobs", "src") == tmp_path / "jobs/src"
    assert job_code_folder(tmp_path / "jobs", "../own-script") == tmp_path / "jobs/../own-script"
    with pytest.raises(UsageError, match="outside the job file's repository"):
        job_code_folder(tmp_path / "jobs", "../..")
