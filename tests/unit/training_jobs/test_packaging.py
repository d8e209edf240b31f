"""The code tarball: equal content gives equal bytes, and files that .gitignore names are left out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from gpuyard.training_jobs import packaging
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.packaging import pack


def names(data: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return set(tar.getnames())


def make(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first = make(tmp_path / "a", {"train.py": "x", "pkg/mod.py": "y"})
    second = make(tmp_path / "b", {"pkg/mod.py": "y", "train.py": "x"})
    os.utime(second / "train.py", (1, 1))
    assert pack(first, ["train.py"]) == pack(second, ["train.py"])


def test_file_contents_names_and_modes_change_the_digest(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train.py": "x"})
    digests = {pack(folder, ["train.py"]).digest}
    (folder / "train.py").write_text("y")
    digests.add(pack(folder, ["train.py"]).digest)
    (folder / "train.py").chmod(0o755)
    digests.add(pack(folder, ["train.py"]).digest)
    (folder / "train.py").rename(folder / "main.py")
    digests.add(pack(folder, ["train.py"]).digest)
    assert len(digests) == 4


def test_gitignore_applies_in_every_folder(tmp_path: Path) -> None:
    files = {
        ".gitignore": "*.log\n/data/\nbuild\n!keep.log\n",
        "a.log": "",
        "keep.log": "",
        "data/x": "",
        "src/data/x": "",
        "src/build/y": "",
        "src/.gitignore": "secret*\n!secret.ok\n",
        "src/secret.txt": "",
        "src/secret.ok": "",
        "secret.txt": "",
        ".git/config": "",
        ".venv/lib/x.py": "",
        "__pycache__/x.pyc": "",
    }
    found = {name for name in names(pack(make(tmp_path, files), ["x.py"]).data) if name.startswith("code/")}
    kept = {".gitignore", "keep.log", "src/data/x", "src/.gitignore", "src/secret.ok", "secret.txt"}
    assert found == {f"code/{name}" for name in kept}


def test_launch_is_always_packed_and_the_trainer_only_for_its_command(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train.py": "x"})
    plain = names(pack(folder, ["train.py"]).data)
    assert {
        ".gpuyard/gpuyard_hook.py",
        ".gpuyard/gpuyard/training_jobs/__init__.py",
        ".gpuyard/gpuyard/training_jobs/launch/__main__.py",
    } <= plain
    assert not any("training_jobs/train/" in name for name in plain)
    assert ".gpuyard/gpuyard/training_jobs/train/__main__.py" in names(pack(None, ["-m", "gpuyard.training_jobs.train", "steps=3"]).data)


def test_the_hook_is_one_module_under_both_of_its_names(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(None, ["x.py"]).data)) as tar:
        tar.extractall(tmp_path, filter="data")
    check = (
        "import gpuyard_hook as a, sys; from gpuyard.training_jobs.launch import hook; assert a is hook and 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd="/", env={"PYTHONPATH": str(tmp_path / ".gpuyard")})


def test_a_missing_code_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="relative to the job file"):
        pack(tmp_path / "nope", ["x.py"])


def test_code_above_the_limit_is_refused_with_its_largest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "MAX_BYTES", 2**20)
    make(tmp_path, {"small.py": "x"})
    (tmp_path / "weights.bin").write_bytes(bytes(3 * 2**20))
    with pytest.raises(UsageError, match=r"got 3 MiB, allowed: <= 1 MiB; .*\.gitignore.*weights\.bin \(3 MiB\)"):
        pack(tmp_path, ["x.py"])
