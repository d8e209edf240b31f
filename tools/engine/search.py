"""Find a usable engine on PATH, and the folder of the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.engine import versions

__all__ = ["PIECES", "Engine", "NotUsableError", "cache_root", "check_version", "on_path", "version_of"]

PIECES = ("pulumi-language-python", "pulumi-resource-pulumi-python")  # without these, an engine runs no Python program


@dataclass(frozen=True)
class Engine:
    """A usable engine: the folder to put first on PATH, its version and its origin."""

    folder: Path
    version: str
    origin: str


class NotUsableError(Exception):
    """An engine cannot be used or obtained. The message is the reason; the caller adds what was tried."""


def version_of(binary: Path) -> str:
    """Return the version that this binary prints. Raises NotUsableError if it cannot run."""
    with tempfile.TemporaryDirectory(prefix="gpuyard-") as home:  # even `pulumi version` may write to its home
        env = {**os.environ, "PULUMI_HOME": home, "PULUMI_SKIP_UPDATE_CHECK": "true"}
        try:
            ran = subprocess.run([str(binary), "version"], env=env, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotUsableError(f"{binary} cannot be run ({error})") from error
    if ran.returncode:
        raise NotUsableError(f"{binary} cannot be run (exit code {ran.returncode}: {ran.stderr.strip()[-200:]})")
    return ran.stdout.strip()


def check_version(binary: Path) -> str:
    """Return the version of this binary. Raises NotUsableError if it does not run our programs."""
    version = version_of(binary)
    if not versions.good_engine(version):
        major = versions.ENGINE.split(".")[0]
        raise NotUsableError(
            f"{binary} is {version or 'of unknown version'}, allowed: v{versions.ENGINE} or newer, below v{int(major) + 1}"
        )
    return version


def on_path(env: Mapping[str, str]) -> Engine:
    """Return the engine on PATH. Raises NotUsableError if none runs Python programs."""
    path = env.get("PATH", "")
    found = shutil.which("pulumi", path=path)
    if not found:
        raise NotUsableError("not found")
    version = check_version(Path(found))
    beside = str(Path(found).resolve().parent)
    missing = [name for name in PIECES if not shutil.which(name, path=os.pathsep.join([beside, path]))]
    if missing:
        raise NotUsableError(f"{found} has no {' and no '.join(missing)} beside it or on PATH, so it cannot run Python programs")
    return Engine(Path(found).absolute().parent, version, "found on PATH")


def cache_root(env: Mapping[str, str]) -> Path:
    """Return the user's cache folder of gpuyard."""
    base = env.get("XDG_CACHE_HOME", "")
    # the XDG Base Directory Specification: ignore a relative path
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "gpuyard"
