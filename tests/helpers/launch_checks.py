"""Checks of launch that are the same on every cloud: objects and claims in the run bucket, code by the bootstrap, secrets by name."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.training_jobs.launch import objects, secrets
from gpuyard.training_jobs.launch.__main__ import claim_attempt
from gpuyard.training_jobs.launch.data_copy import copied_path, copy_data
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.store import Store

_BOOTSTRAP = Path(__file__).resolve().parents[2] / "training_jobs/launch/bootstrap.py"


def check_objects(run_url: str) -> None:
    """Fail unless objects of a run are written, read, listed, removed and created once as on disk. The claim of attempt 1 remains."""
    assert objects.read(f"{run_url}/progress.json") is None
    assert objects.list_names(f"{run_url}/attempts") == []
    objects.write(f"{run_url}/progress.json", b"1")
    objects.write(f"{run_url}/progress.json", b"2")
    assert objects.read(f"{run_url}/progress.json") == b"2"
    assert objects.create(f"{run_url}/attempts/1.json", b"mine")
    assert not objects.create(f"{run_url}/attempts/1.json", b"theirs")
    assert objects.read(f"{run_url}/attempts/1.json") == b"mine"
    assert objects.list_names(f"{run_url}/attempts") == ["1.json"]
    objects.remove(f"{run_url}/progress.json")
    objects.remove(f"{run_url}/progress.json")
    assert objects.read(f"{run_url}/progress.json") is None


def claim_concurrently(run_url: str, service: str, claims: int, at_once: int = 8) -> list[int]:
    """Return the attempt numbers of `claims` concurrent claims, sorted."""
    submission: Any = {"attempt": 1, "job": {"nodes": 1}}
    with ThreadPoolExecutor(at_once) as pool:
        return sorted(pool.map(lambda _: claim_attempt(run_url, 0, service, submission), range(claims)))


def check_old_package_refused(monkeypatch: pytest.MonkeyPatch, url: str, fix: str) -> None:
    """Fail unless a file system package that ignores write conditions is refused with the package to install."""
    old = SimpleNamespace(_pipe_file=lambda path, data: None)
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url, **_: (old, "runs/a"))
    with pytest.raises(NodeExitError, match=f"too old; fix: pip install '{fix}'") as refused:
        objects.create(url, b"1")
    assert refused.value.code == 64


def launching_tarball() -> tuple[str, bytes]:
    """Return a code tarball whose launch prints only its folder: its path in a run bucket, and its bytes."""
    raw = io.BytesIO()
    program = b"import os; print('launched in', os.getcwd(), 'with', sorted(os.listdir('.')))"
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, data in {
            "code/train.py": b"", ".gpuyard/gpuyard/__init__.py": b"", ".gpuyard/gpuyard/training_jobs/__init__.py": b"",
            ".gpuyard/gpuyard/training_jobs/launch/__init__.py": b"", ".gpuyard/gpuyard/training_jobs/launch/__main__.py": program,
        }.items():  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return f"gpuyard/code/{hashlib.sha256(raw.getvalue()).hexdigest()}.tar.gz", raw.getvalue()


def bootstrap(folder: Path, code_url: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the bootstrap in a folder."""
    env = {"PATH": os.environ["PATH"], **environment, "HOME": str(folder), "GPUYARD_CODE_URL": code_url}
    command = [sys.executable, "-c", _BOOTSTRAP.read_text()]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def refusal_of_wrong_names(wrong: Mapping[str, str], good: str, secret: str) -> str:
    """Return the message that refuses wrong secret names. Fail if it names a valid secret or shows its value."""
    with pytest.raises(NodeExitError) as refused:
        secrets.resolve({**wrong, "GOOD": good})
    assert refused.value.code == 64
    message = str(refused.value)
    assert "secrets.GOOD" not in message
    assert secret not in message
    return message


def check_data_copy(store: Store, url: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fail unless a node copies data as `gpuyard upload` sent it, and refuses a copy with another digest. `url`: the bucket's URL."""
    part = folder / "part"
    for name in ("tokens/train/0.bin", "tokens/train/1.bin", "tokens/index.json", "tokens-v2/0.bin", "one file.txt"):
        part.write_bytes(name.encode() * 1000)
        store.send(f"data/{name}", part, hashlib.sha256(part.read_bytes()).hexdigest())
    entries = {"tokens": f"{url}/data/tokens/", "one": f"{url}/data/one file.txt"}
    copy_data(entries, folder / "copies")
    copied = {path.relative_to(folder / "copies").as_posix(): path for path in (folder / "copies").rglob("*") if path.is_file()}
    parts = ("train/0.bin", "train/1.bin", "index.json")
    assert copied.keys() == {*(f"GPUYARD_DATA_TOKENS/tokens/{name}" for name in parts), "GPUYARD_DATA_ONE/one file.txt"}
    assert copied["GPUYARD_DATA_TOKENS/tokens/train/1.bin"].read_bytes() == b"tokens/train/1.bin" * 1000
    assert copied_path(folder / "copies", "one", entries["one"]).read_bytes() == b"one file.txt" * 1000
    assert "gpuyard: data.tokens: copied 3 file(s), 0.1 MB" in (out := capsys.readouterr().out)
    assert "3 of them checked by digest, 0 by size" in out
    with pytest.raises(NodeExitError, match=r"data\.a: nothing is there, got .*/data/none; correct the URL") as missing:
        copy_data({"a": f"{url}/data/none"}, folder / "copies")
    store.send("data/torn", part, "0" * 64)
    with pytest.raises(NodeExitError, match=r"data/torn: the copy differs from the object, got 12000 bytes, .* sha256 0000") as torn:
        copy_data({"a": f"{url}/data/torn"}, folder / "copies")
    assert (missing.value.code, torn.value.code) == (64, 74)
