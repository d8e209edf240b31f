"""Reads a Pulumi project and a stack's configuration as the Pulumi CLI would, and runs the program under the recording monitor."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpuyard.problems import Problem, did_you_mean
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.strict_yaml import read_yaml

if TYPE_CHECKING:
    from gpuyard.components.planning.recorder import Recording

_FILE = "Pulumi.yaml"
_OWN = "gpuyard:"


class PulumiProject(NamedTuple):
    """A program and what it is configured with."""

    name: str
    stack: str
    root: Path
    """The folder of Pulumi.yaml."""
    program: Path
    """A file, or a folder with a __main__.py."""
    config: Mapping[str, str]
    """Full key -> text, as Pulumi hands it to the program."""
    encrypted: tuple[str, ...]
    """Keys whose value only the stack's secrets provider knows; their text is empty."""
    file: Path
    """The stack file."""


def load_project(folder: Path, stack: str) -> PulumiProject:
    """The project that Pulumi would use from `folder`. Raises UsageError when there is none, no such stack, or another language."""
    root = next((each for each in (folder, *folder.parents) if (each / _FILE).is_file()), None)
    if root is None:
        raise UsageError(f"there is no {_FILE} in {folder} or above; go to a Pulumi project, or name one with -C")
    project = _read(root / _FILE)
    runtime = project.get("runtime")
    language = runtime.get("name") if isinstance(runtime, dict) else runtime
    if language != "python":
        raise UsageError(f"{root / _FILE}: a plan runs the program, and it can run Python; runtime is {language}")
    name, stack = str(project.get("name")), stack.rpartition("/")[2]
    file = _stack_file(root / str(project.get("stackConfigDir", "")), stack)
    stated = _read(file)
    program = (root / str(project.get("main", "."))).resolve()
    if not (program.is_file() or (program / "__main__.py").is_file()):
        raise UsageError(f"{root / _FILE}: main is {program}, which is neither a file nor a folder with a __main__.py")
    config, encrypted = _config(name, project.get("config") or {}, stated.get("config") or {})
    own = [key for key in encrypted if key.startswith(_OWN)]
    if own:
        problems = [Problem(key, "encrypted", fix="state it in plain: it holds no secret, only references to some") for key in own]
        raise UsageError(f"a plan cannot read all settings of stack {stack}", problems)
    return PulumiProject(name, stack, root.resolve(), program, config, tuple(encrypted), file.resolve())


def run_recorded(project: PulumiProject) -> Recording:
    """Run the program as a preview in an empty account. Raises UsageError with what the program itself says is wrong."""
    import pulumi

    from gpuyard.components.planning.recorder import record

    def program() -> None:
        runpy.run_path(str(project.program), run_name="__main__")

    try:
        with _where_pulumi_would(project):
            return record(
                program, project=project.name, stack=project.stack, config=project.config, encrypted=project.encrypted, root=project.root
            )
    except pulumi.RunError as error:
        raise UsageError(str(error)) from None
    except ImportError as error:
        raise UsageError(f"the program of {project.root} needs a package: {error}; {_where_from(error.name)}") from None
    except Exception as error:
        raise UsageError(f"the program of {project.root} failed:\n{_told(error)}") from None
    except SystemExit as left:
        raise UsageError(f"the program of {project.root} left with {left.code}") from None


def _where_from(package: str | None) -> str:
    """Which extra brings a cloud's package. Of any other only the program's author knows."""
    from gpuyard.components.registry import PACKAGES

    extras = {f"pulumi_{name.replace('-', '_')}": cloud for cloud, name in PACKAGES.items()}
    extra = extras.get((package or "").partition(".")[0])
    if extra is None:
        return "install gpuyard where the program's packages are"
    return f"install the extra gpuyard[{extra}] (in a checkout of gpuyard, `make venv` installs all of them)"


def _told(error: Exception) -> str:
    """A traceback from the program on: how it was started is of no use to its author."""
    frames = traceback.extract_tb(error.__traceback__)
    start = max((number + 1 for number, frame in enumerate(frames) if "runpy" in frame.filename), default=0)
    return "".join([*traceback.format_list(frames[start:]), *traceback.format_exception_only(error)]).rstrip()


@contextlib.contextmanager
def _where_pulumi_would(project: PulumiProject) -> Iterator[None]:
    """The program's own folder is the working directory and the first to import from; what it prints is not the plan."""
    folder = project.program if project.program.is_dir() else project.program.parent
    before, path = Path.cwd(), list(sys.path)
    try:
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:] = path
        os.chdir(before)


def _stack_file(folder: Path, stack: str) -> Path:
    found = {path.name.removeprefix("Pulumi.").removesuffix(".yaml"): path for path in sorted(folder.glob("Pulumi.*.yaml"))}
    if stack not in found:
        problem = Problem("--stack", "no such stack file", stack, ", ".join(found) or "none is here", did_you_mean(stack, found))
        raise UsageError(f"there is no Pulumi.{stack}.yaml in {folder}", [problem])
    return found[stack]


def _read(path: Path) -> dict[str, Any]:
    """A file's mapping. What YAML's own traps would turn into something else than the CLI reads is refused."""
    if path.is_file() and not path.read_bytes().strip():
        return {}
    data, traps = read_yaml(path)
    if traps:
        raise UsageError(f"{path} does not say what it seems to", traps)
    return data


def _config(project: str, defaults: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The stack's values over the project's defaults; a key without a namespace is the project's own."""
    merged = {_full(project, key): value for key, entry in defaults.items() if (value := _default(entry)) is not None}
    merged.update({_full(project, key): value for key, value in stated.items()})
    encrypted = sorted(key for key, value in merged.items() if _is_encrypted(value))
    return {key: "" if key in encrypted else _text(value) for key, value in merged.items()}, encrypted


def _full(project: str, key: Any) -> str:
    return str(key) if ":" in str(key) else f"{project}:{key}"


def _default(entry: Any) -> Any:
    """What Pulumi.yaml says of a key: its value, or a description of it that may hold one."""
    return entry.get("value", entry.get("default")) if isinstance(entry, Mapping) else entry


def _is_encrypted(value: Any) -> bool:
    """Whether a value, or something in it, is encrypted: then nobody here knows it."""
    if isinstance(value, Mapping):
        return set(value) == {"secure"} or any(_is_encrypted(entry) for entry in value.values())
    return isinstance(value, list) and any(_is_encrypted(entry) for entry in value)


def _text(value: Any) -> str:
    """Words stay words, all else is JSON: that is how Pulumi hands configuration to a program."""
    return value if isinstance(value, str) else json.dumps(value)
