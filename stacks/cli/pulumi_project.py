"""Reads a Pulumi project and a stack's configuration as the Pulumi CLI does, and records its program for a plan."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gpuyard.problems import Problem, did_you_mean
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.strict_yaml import read_yaml

from .project_files import find_project_file, stack_files
from .streams import program_output_to_stderr

if TYPE_CHECKING:
    from gpuyard.components.planning.recorder import Recording

__all__ = ["PulumiProject", "load_project", "run_recorded"]

_NAMESPACE = "gpuyard:"


class PulumiProject(NamedTuple):
    """A Pulumi program and its configuration for one stack."""

    name: str
    stack: str
    root: Path
    """The folder of Pulumi.yaml."""
    program: Path
    """A file, or a folder with a __main__.py."""
    config: Mapping[str, str]
    """Full key -> value as text, as Pulumi passes it to the program."""
    encrypted: tuple[str, ...]
    """Keys with encrypted values; their text in `config` is empty."""
    file: Path
    """The stack file."""
    environments: tuple[str, ...] = ()
    """Pulumi ESC environments of the stack. They can set more keys; a plan does not know their values."""


def load_project(folder: Path, stack: str) -> PulumiProject:
    """Return the project that Pulumi would use in `folder`. Raises UsageError without a project, a stack file or a Python runtime."""
    project_file = find_project_file(folder)
    if project_file is None:
        raise UsageError(f"no Pulumi.yaml in {folder} or above; go to a Pulumi project, or pass its folder with -C")
    project, root = _read(project_file), project_file.parent
    runtime = project.get("runtime")
    language = runtime.get("name") if isinstance(runtime, dict) else runtime
    if language != "python":
        raise UsageError(f"{project_file}: runtime: a plan can run only Python programs, got {language}, allowed: python")
    name, stack = str(project.get("name")), stack.rpartition("/")[2]
    file = _stack_file(project_file, root / str(project.get("stackConfigDir", "")), stack)
    stack_file = _read(file)
    program = (root / str(project.get("main", "."))).resolve()
    if not (program.is_file() or (program / "__main__.py").is_file()):
        raise UsageError(f"{project_file}: main: no program, got {program}, allowed: a file, or a folder with a __main__.py")
    config, encrypted = _config(name, _config_section(project_file, project), _config_section(file, stack_file))
    settings = [key for key in encrypted if key.startswith(_NAMESPACE)]
    if settings:
        problems = [
            Problem(key, "encrypted", fix="write plain text, because this key has references to secrets, not secrets") for key in settings
        ]
        raise UsageError(f"a plan cannot read all settings of stack {stack}", problems)
    environments = tuple(_environments(stack_file.get("environment")))
    return PulumiProject(name, stack, root.resolve(), program, config, tuple(encrypted), file.resolve(), environments)


def run_recorded(project: PulumiProject) -> Recording:
    """Run the program as a preview in an empty account. Raises UsageError with the program's own error."""
    import pulumi

    from gpuyard.components.planning.recorder import record

    def program() -> None:
        runpy.run_path(str(project.program), run_name="__main__")

    try:
        with _program_folder(project):
            return record(
                program, project=project.name, stack=project.stack, config=project.config, encrypted=project.encrypted, root=project.root
            )
    except pulumi.RunError as error:
        names = ", ".join(project.environments)
        note = f"\na plan cannot read the stack's environment ({names}); write the environment's keys into the stack file"
        raise UsageError(f"{error}{note if names else ''}") from None
    except ImportError as error:
        raise UsageError(f"the program of {project.root} needs a package: {error}; {_install_hint(error.name)}") from None
    except Exception as error:
        raise UsageError(f"the program of {project.root} failed:\n{_program_traceback(error)}") from None
    except SystemExit as exit_:
        raise UsageError(f"the program of {project.root} exited with {exit_.code}") from None


def _install_hint(package: str | None) -> str:
    """Return the fix for a missing package. A package of a cloud comes with gpuyard's extra for that cloud."""
    from gpuyard.components.registry import PACKAGES

    extras = {f"pulumi_{name.replace('-', '_')}": cloud for cloud, name in PACKAGES.items()}
    extra = extras.get((package or "").partition(".")[0])
    if extra is None:
        return "install gpuyard into the program's Python environment"
    return f"install the extra gpuyard[{extra}] (in a checkout of gpuyard, `make venv` installs all of them)"


def _program_traceback(error: Exception) -> str:
    """Return the traceback from the program's first frame on, without the frames of gpuyard."""
    frames = traceback.extract_tb(error.__traceback__)
    start = max((number + 1 for number, frame in enumerate(frames) if "runpy" in frame.filename), default=0)
    return "".join([*traceback.format_list(frames[start:]), *traceback.format_exception_only(error)]).rstrip()


@contextlib.contextmanager
def _program_folder(project: PulumiProject) -> Iterator[None]:
    """Make the program's folder the working directory and the first entry of sys.path, as Pulumi does. Send output to stderr."""
    folder = project.program if project.program.is_dir() else project.program.parent
    old_folder, old_path, old_argv = Path.cwd(), list(sys.path), sys.argv
    try:
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.argv = [str(project.program)]
        with program_output_to_stderr():
            yield
    finally:
        sys.path[:], sys.argv = old_path, old_argv
        os.chdir(old_folder)


def _stack_file(project_file: Path, folder: Path, stack: str) -> Path:
    found = stack_files(project_file, folder)
    if stack not in found:
        problem = Problem("--stack", "no such stack file", stack, ", ".join(found) or "no stack file exists", did_you_mean(stack, found))
        raise UsageError(f"no Pulumi.{stack}{project_file.suffix} in {folder}", [problem])
    return found[stack]


def _read(path: Path) -> dict[str, object]:
    """Return a file's mapping. Refuses values that YAML parses differently from how they look."""
    if path.is_file() and not path.read_bytes().strip():
        return {}
    data, traps = read_yaml(path, pulumi=True)
    if traps:
        raise UsageError(f"{path}: YAML parses some values differently from how they look", traps)
    return data


def _environments(section: object) -> Iterator[str]:
    """Yield the names of a stack's ESC environments. `section`: a list of names, or a mapping with `imports` and own values."""
    imports = section.get("imports", []) if isinstance(section, Mapping) else section
    for entry in imports if isinstance(imports, list) else [imports] if isinstance(imports, str) else []:
        yield from map(str, entry) if isinstance(entry, Mapping) else [str(entry)]
    if isinstance(section, Mapping) and section.keys() - {"imports"}:
        yield "values in the stack file"


def _config_section(file: Path, document: Mapping[str, object]) -> Mapping[str, object]:
    section = document.get("config") or {}
    if not isinstance(section, Mapping):
        raise UsageError(f"{file}: config: wrong type, got {section!r}, allowed: a mapping; write one `KEY: VALUE` per line below config")
    return section


def _config(project: str, defaults: Mapping[str, object], configured: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Return the stack's values merged over the project's defaults, and the encrypted keys.

    A key without a namespace gets the project's name as its namespace.
    """
    merged = {_full(project, key): value for key, entry in defaults.items() if (value := _default(entry)) is not None}
    merged.update({_full(project, key): value for key, value in configured.items()})
    encrypted = sorted(key for key, value in merged.items() if _is_encrypted(value))
    return {key: "" if key in encrypted else _text(value) for key, value in merged.items()}, encrypted


def _full(project: str, key: object) -> str:
    return str(key) if ":" in str(key) else f"{project}:{key}"


def _default(entry: object) -> object:
    """Return a key's default from Pulumi.yaml: the value itself, or `value` or `default` of its declaration."""
    return entry.get("value", entry.get("default")) if isinstance(entry, Mapping) else entry


def _is_encrypted(value: object) -> bool:
    """Return whether a value, or a part of it, is encrypted."""
    if isinstance(value, Mapping):
        return set(value) == {"secure"} or any(_is_encrypted(entry) for entry in value.values())
    return isinstance(value, list) and any(_is_encrypted(entry) for entry in value)


def _text(value: object) -> str:
    """Return a value as Pulumi passes it to a program: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
