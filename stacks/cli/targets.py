"""Finds the job targets: --stack or --targets, then GPUYARD_TARGETS, then Pulumi's selected stack, then `local`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, UsageError
from gpuyard.training_jobs.target import JobTarget, parse_targets

if TYPE_CHECKING:
    from gpuyard.training_jobs.runner import Runner

_LOCAL = "local"
_VERSION = re.compile(r"v\d+(\.\d+)*")


def runner(stack: str | None, targets: str | None) -> Runner:
    """A runner over the targets that the options, or their defaults, name."""
    from gpuyard.training_jobs.runner import Runner

    found, source = find_targets(stack, targets)
    return Runner(found, source=source)


def find_targets(stack: str | None, targets: str | None) -> tuple[dict[str, JobTarget], str]:
    """The targets and where they come from. Raises UsageError when the stack is not up."""
    if stack is not None and targets is not None and targets != os.environ.get("GPUYARD_TARGETS"):
        raise UsageError("--stack and --targets name the same thing twice; keep one")
    if stack is None and targets is not None:
        return parse_targets(_read(targets), targets), targets
    name = stack or _selected() or _LOCAL
    source = f"stack '{name}'"
    return parse_targets(_outputs(name), source), source


def _read(location: str) -> str:
    """The text of a file or an object."""
    scheme = urlsplit(location).scheme
    writer = "the line that `pulumi stack output publish_targets` shows" if scheme == "abfs" else "`pulumi up`"  # docs/adr/0011
    hint = f"{writer} writes them to gpuyard/targets.json of the run bucket"
    try:
        if scheme in {"", "file"}:
            return Path(location.removeprefix("file://")).read_text(encoding="utf-8")
        if scheme in {"s3", "gs", "abfs"}:
            from gpuyard.training_jobs.store import read_url

            data = read_url(location)
            if data is None:
                raise UsageError(f"cannot read the targets {location}: there is no such object; {hint}")
            return data.decode("utf-8")
        import fsspec

        with fsspec.open(location, "rt", encoding="utf-8") as file:
            return str(file.read())
    except ImportError as error:
        raise UsageError(f"cannot read {location}: {error}; install the extra of its cloud, e.g. gpuyard[aws]") from None
    except UnicodeDecodeError:
        raise UsageError(f"{location} is not text; {hint}") from None
    except PermissionError as error:
        raise AuthError(f"not permitted to read the targets {location}: {error.strerror or error}") from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"cannot read the targets {location}: {getattr(error, 'strerror', None) or error}; {hint}") from None
    except GpuyardError:
        raise
    except Exception as error:  # every cloud's client has its own words for no credentials and no network
        raise LostSightError(f"cannot read the targets {location}: {type(error).__name__}: {error}") from None


def _outputs(stack: str) -> str:
    hint = "make demo" if stack == _LOCAL else f"pulumi up --stack {stack}"
    done = _pulumi(["stack", "output", "job_targets", "--json", "--stack", stack], stack)
    if done.returncode == 0:
        return done.stdout
    error = " ".join(done.stderr.removeprefix("error: ").split())
    if "passphrase" in error:
        raise AuthError(f"cannot read stack '{stack}': {error}")
    raise UsageError(f"stack '{stack}' is not up ({error}); bring it up with `{hint}`, or name another with --stack or --targets")


def _selected() -> str | None:
    done = _pulumi(["stack", "--show-name"], None)
    return done.stdout.strip() or None if done.returncode == 0 else None


def _pulumi(arguments: list[str], stack: str | None) -> subprocess.CompletedProcess[str]:
    command = [str(find_pulumi()), *arguments, "--non-interactive"]
    environment = {**local_environment(stack), **os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise LostSightError("pulumi did not answer within 60 s; use --targets to go without it") from None
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be run: {error.strerror}; `gpuyard doctor` says more") from None


def find_pulumi() -> Path:
    """The CLI on PATH, else the one that `make` keeps in the user's cache. Raises UsageError when there is none."""
    on_path = shutil.which("pulumi")
    if on_path:
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    whole = [seal.parent for seal in cache.glob("gpuyard/engine/v*/complete.json") if _VERSION.fullmatch(seal.parent.name)]
    if not whole:
        raise UsageError("the pulumi CLI is not here; install it, run `make demo` once, or use --targets, which needs none")
    return max(whole, key=lambda folder: [int(part) for part in folder.name[1:].split(".")]) / "pulumi"


def project_root() -> Path | None:
    """The folder of the Pulumi.yaml that Pulumi itself would use from here."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "Pulumi.yaml").is_file()), None)


def local_environment(stack: str | None) -> Mapping[str, str]:
    """Where the yard of this checkout keeps its state, as `make env` prints it; the user's own settings come first."""
    root = project_root()
    if root is None or stack != _LOCAL or not (root / ".yard" / "state").is_dir():
        return {}
    return {
        "PULUMI_HOME": str(root / ".yard" / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{root}/.yard/state",
        "PULUMI_CONFIG_PASSPHRASE": "",
    }
