"""Finds the job targets: --stack or --targets, then GPUYARD_TARGETS, then Pulumi's selected stack, then `local`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, UsageError
from gpuyard.training_jobs.target import JobTarget, parse_targets

from .pulumi_cli import LOCAL, job_targets, selected_stack

if TYPE_CHECKING:
    from gpuyard.training_jobs.runner import Runner


def make_runner(stack: str | None, targets: str | None) -> Runner:
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
    name = stack or selected_stack() or LOCAL
    source = f"stack '{name}'"
    return parse_targets(job_targets(name), source), source


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
