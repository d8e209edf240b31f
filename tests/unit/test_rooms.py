"""Who may import whom: the table of allowed imports, held to every file, functions' own imports included.

Each row is a room (a module, or a package with everything below it) and what its files may import at the top
and, beyond that, inside functions. The most specific row counts; a file without a row is an error.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("components", "stacks", "training_jobs")
_GOOGLE = {"google", "requests", "urllib3"}  # what its clients speak through
_STORAGE = {"fsspec", "s3fs", "gcsfs", "adlfs", "boto3", "botocore", "azure", *_GOOGLE}
_NEUTRAL = {"pydantic", "pydantic_core", "yaml"}
_COMPONENTS = {
    f"components.{name}"
    for name in (
        "spec",
        "pool_spec",
        "values",
        "services",
        "catalogue",
        "naming",
        "boot",
        "problems",
        "targets",
        "end",
        "submitters",
        "addresses",
        "budget_rules",
        "yard",
    )
}
_ABOVE_CLOUDS = _COMPONENTS | {"components.base", "components.registry"}
_JOBS = {f"training_jobs.{name}" for name in ("spec", "target", "run", "state", "errors", "packaging", "yaml_traps")}
_STORED = _JOBS | {"training_jobs.journal", "training_jobs.store"}
_RUNNER = {f"training_jobs.{name}" for name in ("runner", "case", "resubmit", "status", "assemble", "listing", "waiting")}


@dataclass(frozen=True)
class Row:
    """What a room may import besides the standard library and itself."""

    top: set[str]
    inside: set[str] = field(default_factory=set)  # inside functions only


def _cloud(*sdk: str) -> Row:
    return Row({"pulumi", *_NEUTRAL, *_ABOVE_CLOUDS, *sdk}, set())


def _backend(*sdk: str, shared: str = "training_jobs.backends.base") -> Row:
    every = {f"training_jobs.backends.{name}" for name in ("base", "once", "image", "results")}
    return Row({"tenacity", "psutil", *every, shared, *_NEUTRAL, *_STORED}, set(sdk))


TABLE = {
    "components": Row(set()),  # lazy: its public names load on use
    **{name: Row(_NEUTRAL | _COMPONENTS) for name in _COMPONENTS},
    "components.base": Row({"pulumi"} | _NEUTRAL | _COMPONENTS),
    "components.registry": Row({"pulumi"} | _NEUTRAL | _COMPONENTS),
    "components.local": _cloud(),
    "components.aws": _cloud("pulumi_aws"),
    "components.gcp": _cloud("pulumi_gcp"),
    "components.azure": _cloud("pulumi_azure_native"),
    "components.planning": Row({"pulumi", "rich", *_NEUTRAL, *_ABOVE_CLOUDS}),
    "training_jobs": Row(set()),
    **{name: Row(_NEUTRAL | _JOBS | {"pathspec"}) for name in _JOBS},
    "training_jobs.journal": Row(_NEUTRAL | _STORED, _STORAGE),
    "training_jobs.store": Row(_NEUTRAL | _STORED, _STORAGE),
    **{
        name: Row(_NEUTRAL | _STORED | _RUNNER | {"tenacity", "training_jobs.backends.base", "training_jobs.backends.load_backend"})
        for name in _RUNNER
    },
    "training_jobs.backends": Row(_NEUTRAL | _STORED),
    "training_jobs.backends.local": _backend(),
    "training_jobs.backends.aws": _backend("boto3", "botocore"),
    "training_jobs.backends.aws_batch": _backend("boto3", "botocore", shared="training_jobs.backends.aws"),
    "training_jobs.backends.sagemaker": _backend("boto3", "botocore", shared="training_jobs.backends.aws"),
    "training_jobs.backends.gcp": _backend(*_GOOGLE),
    "training_jobs.backends.vertex": _backend(*_GOOGLE, shared="training_jobs.backends.gcp"),
    "training_jobs.backends.azure": _backend("azure"),
    "training_jobs.backends.azureml": _backend("azure", shared="training_jobs.backends.azure"),
    "training_jobs.launch": Row(set(), {"torch", "fsspec"}),
    "training_jobs.launch.bootstrap": Row({"fsspec"}),  # a script: it has no functions, and branches to this import
    "training_jobs.launch.elastic": Row({"torch", "training_jobs.launch"}),  # subclasses of torch's; imported inside a function
    "training_jobs.launch.secrets": Row({"training_jobs.launch"}, {"torch", *_STORAGE}),
    "training_jobs.train": Row({"torch", "numpy", "fsspec", "safetensors", "training_jobs.launch.hook", "gpuyard_hook"}),
    "stacks": Row({"components", "training_jobs", "pulumi", "rich", "typer", "click", "psutil", "fsspec", "tenacity", *_NEUTRAL}),
}


def row_of(module: str) -> str:
    """The most specific row of the table: `components.base` is not held to the row of `components`."""
    parts = module.split(".")
    found = next((name for size in range(len(parts), 0, -1) if (name := ".".join(parts[:size])) in TABLE), None)
    if found is None or (found in ROOMS and found != "stacks" and module != found):
        raise LookupError(f"{module} has no row in the table of rooms: add one")
    return found


def imports(source: str, module: str, is_package: bool) -> Iterator[tuple[str, bool]]:
    """Every imported module as an absolute name, and whether that happens inside a function (or for types only)."""
    package = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                name = ".".join([*base, *([child.module] if child.module else [])])
                deeper = not child.module or name in {"components", "training_jobs", "stacks"} or name in TABLE
                yield from ((f"{name}.{alias.name}", inside) for alias in child.names) if deeper else [(name, inside)]
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                typing_only = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
                yield from visit(child, inside or function or typing_only)

    return visit(ast.parse(source), False)


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of a file that its room does not allow."""
    room = row_of(module)
    row = TABLE[room]
    return [
        f"{module} imports {name}" + (" inside a function" if inside else "")
        for name, inside in imports(source, module, is_package)
        if name.split(".")[0] not in sys.stdlib_module_names and not _within(name, {room, *row.top, *(row.inside if inside else ())})
    ]


def _within(name: str, allowed: set[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (CHECKOUT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_file_imports_what_its_room_may(path: Path) -> None:
    module = module_of(path)
    if path.name == "__init__.py" and module in {"components", "training_jobs"}:
        allowed = {module}  # lazy doors: only the names of their own rooms, for type checkers
        names = [name for name, _ in imports(path.read_text(), module, True)]
        assert all(name.split(".")[0] in sys.stdlib_module_names or _within(name, allowed) for name in names)
    else:
        assert wrong_imports(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("components.spec", "import pulumi"),
        ("components.spec", "from pulumi.runtime import config"),
        ("components.naming", "def f():\n    import boto3"),
        ("components.base", "import training_jobs.target"),
        ("components.base", "from .local import Bucket"),
        ("components.local.bucket", "from components.aws import Bucket"),
        ("components.local.bucket", "from ..aws import bucket"),
        ("components.local.bucket", "from training_jobs import target"),
        ("components.local.bucket", "import pulumi_aws"),
        ("components.planning.cost", "import stacks.program"),
        ("training_jobs.spec", "import torch"),
        ("training_jobs.spec", "from components import naming"),
        ("training_jobs.spec", "def f():\n    import pulumi"),
        ("training_jobs.journal", "import fsspec"),
        ("training_jobs.store", "try:\n    import boto3\nexcept ImportError: pass"),
        ("training_jobs.runner", "from .backends import local"),
        ("training_jobs.runner", "from training_jobs.backends.local import LocalBackend"),
        ("training_jobs.backends.vertex", "def f():\n    import boto3"),
        ("training_jobs.backends.vertex", "from . import local"),
        ("training_jobs.backends.vertex", "from google.cloud import aiplatform"),
        ("training_jobs.launch.worker", "import torch"),
        ("training_jobs.launch.worker", "import psutil"),
        ("training_jobs.launch.worker", "from ..errors import UsageError"),
        ("training_jobs.launch.worker", "def f():\n    from training_jobs import state"),
        ("training_jobs.launch.topology", "def f():\n    import boto3"),
        ("training_jobs.train.loop", "import pydantic"),
        ("training_jobs.train.loop", "from ..launch import worker"),
        ("stacks.program", "import pulumi_aws"),
        ("stacks.cli.submit", "def f():\n    import boto3"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert wrong_imports(source, module) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("components.spec", "from .naming import NAME_LIMIT\nimport json\nfrom pydantic import Field"),
        ("components.local.bucket", "from ..base import Component\nfrom .disk import PRIVATE\nfrom pulumi import dynamic"),
        ("training_jobs.journal", "def f():\n    import fsspec"),
        ("training_jobs.runner", "from .backends import load_backend\nfrom .state import State"),
        ("training_jobs.backends.vertex", "def f():\n    from google.cloud import aiplatform"),
        ("training_jobs.launch.hook", "def f():\n    import torch.distributed"),
        ("training_jobs.train.loop", "import torch\nfrom ..launch import hook"),
        ("stacks.program", "from components import registry\nfrom .settings import load"),
    ],
)
def test_an_allowed_import_is_not(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_a_new_file_needs_a_row() -> None:
    with pytest.raises(LookupError, match=r"training_jobs\.helpers has no row"):
        wrong_imports("", "training_jobs.helpers")
    assert row_of("components.local.disk") == "components.local"
