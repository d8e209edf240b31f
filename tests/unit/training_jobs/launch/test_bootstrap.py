"""The bootstrap that starts a node: its size, and what it refuses to unpack."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[4] / "training_jobs/launch/bootstrap.py").read_text()
LAUNCH = "import os, sys; print(os.getcwd(), os.environ['GPUYARD_WORKDIR'], sys.flags.safe_path)"


def _tarball(folder: Path, members: dict[str, str], sha256: str | None = None) -> str:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    path = folder / f"{sha256 or hashlib.sha256(raw.getvalue()).hexdigest()}.tar.gz"
    path.write_bytes(raw.getvalue())
    return path.as_uri()


def _start(url: str, work: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "GPUYARD_CODE_URL": url, "GPUYARD_WORKDIR": str(work)}
    return subprocess.run([sys.executable, "-c", TEXT], env=env, cwd=work.parent, capture_output=True, text=True, timeout=30, check=False)


def _good(folder: Path) -> str:
    launch = {f".gpuyard/gpuyard/{name}__init__.py": "" for name in ("", "training_jobs/", "training_jobs/launch/")}
    return _tarball(folder, {**launch, ".gpuyard/gpuyard/training_jobs/launch/__main__.py": LAUNCH, "code/json.py": "raise SystemExit(9)"})


def test_the_bootstrap_is_at_most_3_kb() -> None:
    assert len(TEXT.encode()) <= 3000


def test_the_bootstrap_executes_launch_in_a_new_folder(tmp_path: Path) -> None:
    work = tmp_path / "a node"
    done = _start(_good(tmp_path), work)
    assert done.stdout.split("\n")[0] == f"{work}/code {work} True", done.stderr


def test_the_bootstrap_does_not_overwrite_existing_files(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "code").mkdir(parents=True)
    (work / "code/mine").write_text("kept")
    done = _start(_good(tmp_path), work)
    assert f"{work}/gpuyard-" in done.stdout, done.stderr
    assert os.listdir(work / "code") == ["mine"]


@pytest.mark.parametrize(
    ("members", "sha256", "message"),
    [({"code/x": "y"}, "0" * 64, "its name says 0000"), ({"../escaped": "y"}, None, "OutsideDestinationError")],
)
def test_the_bootstrap_refuses_an_invalid_tarball(tmp_path: Path, members: dict[str, str], sha256: str | None, message: str) -> None:
    done = _start(_tarball(tmp_path, members, sha256), tmp_path / "work")
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "escaped").exists()


def test_the_bootstrap_reports_an_unknown_url_scheme(tmp_path: Path) -> None:
    done = _start("nosuch://bucket/0.tar.gz", tmp_path / "work")
    assert done.returncode == 1
    assert "gpuyard: " in done.stderr
    assert "nosuch" in done.stderr
    assert "Traceback" not in done.stderr
