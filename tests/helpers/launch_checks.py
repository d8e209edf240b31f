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
from gpuyard.training_jobs.launch.node_exit import NodeExitError

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
