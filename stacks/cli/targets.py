"""Finds the job targets: from --stack or --targets, else GPUYARD_TARGETS, else the selected Pulumi stack, else stack `local`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpuyard.problems import Problem
from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, UsageError
from gpuyard.training_jobs.target import JobTarget, parse_targets

from .pulumi_cli import LOCAL, job_targets, selected_stack

if TYPE_CHECKING:
    from gpuyard.training_jobs.runner import Runner

__all__ = ["find_targets", "make_runner"]


def make_runner(stack: str | None, targets: str | None) -> Runner:
    """Return a runner for the targets that the options or their defaults name."""
    from gpuyard.training_jobs.runner import Runner

    found, source = find_targets(stack, targets)
    return Runner(found, source=source)


def find_targets(stack: str | None, targets: str | None) -> tuple[dict[str, JobTarget], str]:
    """Return the targets and their source, such as "stack 'dev'". Raises UsageError when the stack is not up."""
    if stack is not None and targets is not None and targets != os.environ.get("GPUYARD_TARGETS"):
        raise UsageError("--stack and --targets exclude each other; remove one")
    empty = [option for option, value in (("--stack", stack), ("--targets", targets)) if value is not None and not value.strip()]
    if empty:  # such as an unset variable of a pipeline: the default would be another stack
        fix = "set its value, or remove the option to use the default"
        raise UsageError("the targets cannot be found", [Problem(option, "empty", fix=fix) for option in empty])
    if stack is None and targets is not None:
        return _checked_targets(parse_targets(_read(targets), targets), targets), targets
    name = stack or selected_stack() or LOCAL
    source = f"stack '{name}'"
    return parse_targets(job_targets(name), source), source


def _checked_targets(found: dict[str, JobTarget], location: str) -> dict[str, JobTarget]:
    """Return the targets. Raises UsageError for a local pool in targets from a URL, because its jobs would run on this machine."""
    local = [name for name, target in found.items() if target.kind == "local"]
    if local and urlsplit(location).scheme not in {"", "file"}:
        fix = "use --stack, or a targets.json on this machine"
        problems = [Problem(name, "a local pool cannot come from a URL", location, "a file on this machine", fix) for name in local]
        raise UsageError("targets from a URL cannot run jobs on this machine", problems)
    return found


def _read(location: str) -> str:
    """Return the text of a file or an object."""
    scheme = urlsplit(location).scheme
    writer = "the command in the stack output publish_targets" if scheme == "abfs" else "`pulumi up`"  # docs/adr/0011
    hint = f"{writer} writes the targets to gpuyard/targets.json of the run bucket"
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
        raise UsageError(f"cannot read the targets {location}: {error}; install the extra of the cloud, such as gpuyard[aws]") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read the targets {location}: the file is not UTF-8 text; {hint}") from None
    except PermissionError as error:
        raise AuthError(f"not permitted to read the targets {location}: {error.strerror or error}") from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"cannot read the targets {location}: {getattr(error, 'strerror', None) or error}; {hint}") from None
    except GpuyardError:
        raise
    except Exception as error:  # each cloud's client has its own exceptions for missing credentials and network errors
        raise LostSightError(f"cannot read the targets {location}: {type(error).__name__}: {error}") from None
