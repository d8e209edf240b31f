"""Obtain a Pulumi engine: download the vendor's release, or build its Go modules."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from tools.engine import versions
from tools.engine.search import PIECES, NotUsableError

__all__ = ["CHECKSUMS", "RELEASE", "build", "download"]

RELEASE = f"https://get.pulumi.com/releases/sdk/pulumi-v{versions.ENGINE}-{{system}}.tar.gz"
CHECKSUMS = f"https://github.com/pulumi/pulumi/releases/download/v{versions.ENGINE}/pulumi-{versions.ENGINE}-checksums.txt"
_CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_TIMEOUT_S = 15
_CHUNK = 1 << 20


def download(place: Path, say: Callable[[str], None]) -> str:
    """Download the vendor's release into `place` and verify it with the checksum file of the same release. Raises NotUsableError."""
    url = RELEASE.format(system=_system())
    with tempfile.TemporaryFile() as file:
        try:
            expected = _expected(CHECKSUMS, url.rsplit("/", 1)[1])
            got = _fetch(url, file, say)
        except (OSError, urllib.error.URLError) as error:
            raise NotUsableError(f"{url} cannot be downloaded ({getattr(error, 'reason', error)})") from error
        if got != expected:
            raise NotUsableError(f"{url} has sha256 {got}, its release lists {expected}; not used")
        file.seek(0)
        _unpack(file, place)
    return f"downloaded from {url}"


def _system() -> str:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    system = platform.system().lower()
    if machine is None or system not in ("linux", "darwin"):
        raise NotUsableError(f"there is no release for {platform.system()} on {platform.machine()}")
    return f"{system}-{machine}"


def _expected(url: str, name: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - a constant https address
        lines = answer.read(_CHUNK).decode("utf-8", "replace").splitlines()
    for line in lines:
        digest, _, listed = line.partition(" ")
        if listed.strip().lstrip("*") == name:
            return str(digest)
    raise NotUsableError(f"{url} does not list {name}, so the download cannot be verified")


def _fetch(url: str, file: IO[bytes], say: Callable[[str], None]) -> str:
    digest, got = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - a constant https address
        total = int(answer.headers.get("Content-Length") or 0)
        while block := answer.read(_CHUNK):
            digest.update(block)
            file.write(block)
            got += len(block)
            say(f"downloading v{versions.ENGINE}: {got >> 20} of {total >> 20 or '?'} MB")
    return digest.hexdigest()


def _unpack(file: IO[bytes], place: Path) -> None:
    # By name and content only: no path, link or mode of the archive is trusted.
    wanted = {"pulumi", "pulumi-language-python-exec", *PIECES}
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and name in wanted and (source := archive.extractfile(member)):
                with source, (place / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (place / name).chmod(0o755)


def build(place: Path, say: Callable[[str], None], env: Mapping[str, str], cache: Path) -> str:
    """Build the CLI from its Go modules, as tools/engine/go.sum pins them, into `place`."""
    go = shutil.which("go", path=env.get("PATH", ""))
    if not go:
        raise NotUsableError(f"no go on PATH (allowed: {versions.GO} or newer)")
    kept = cache / "go"
    go_env = _go_environment(env, kept)
    have = subprocess.run([go, "version"], env=go_env, capture_output=True, text=True, check=False).stdout.strip()
    if not versions.good_go(have):
        raise NotUsableError(f"{go} is {have or 'of unknown version'}, allowed: {versions.GO} or newer")
    log = cache / "engine" / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    step = f"building v{versions.ENGINE}, step"
    # `list -deps` gets only the modules that the CLI needs; `mod download` would get every module in go.mod's graph
    _go([go, "list", "-deps", _CLI], go_env, log, lambda: say(f"{step} 1 of 2: getting its Go modules (2 minutes)"))
    total = _lines(log)
    flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{versions.ENGINE}"
    argv = [go, "build", "-v", "-trimpath", "-buildvcs=false", "-tags", "osusergo,grpcnotrace", "-ldflags", flags]
    argv += ["-o", str(place / "pulumi"), _CLI]
    _go(argv, go_env, log, lambda: say(f"{step} 2 of 2: compiling (7 minutes on 2 cores), {_lines(log)} of {total} packages"))
    log.unlink()
    shutil.rmtree(kept, ignore_errors=True)  # gigabytes that no later run needs
    return "built from its Go modules"


def _go_environment(env: Mapping[str, str], kept: Path) -> dict[str, str]:
    """Return an environment in which Go writes only below `kept`, unless the user's settings name Go's caches."""
    config = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    return {
        "GOMODCACHE": str(kept / "mod"),
        "GOCACHE": str(kept / "build"),
        "GOENV": str(config / "go" / "env"),  # the user's own settings file
        **env,
        "XDG_CONFIG_HOME": str(kept / "config"),  # Go's telemetry counters
        "GOFLAGS": "-mod=readonly -modcacherw",  # readonly: go.sum is never changed; rw: the cache can be removed
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }


def _go(argv: list[str], env: Mapping[str, str], log: Path, tick: Callable[[], None]) -> None:
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=Path(__file__).parent, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            tick()
            while process.poll() is None:
                time.sleep(0.2)
                tick()
        finally:
            process.terminate()  # does nothing unless an interrupt came first
            process.wait()
    if process.returncode:
        tail = "\n".join(f"     {line}" for line in log.read_text("utf-8", "replace").splitlines()[-8:])
        raise NotUsableError(f"`{' '.join(argv[:3])}` failed with exit code {process.returncode} (full log: {log}):\n{tail}")


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")
