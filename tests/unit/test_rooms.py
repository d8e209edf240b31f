"""The rooms of the package: who may import whom, functions' own imports included, and that no imports form a circle.

Each row is a room (a module, or a package with everything below it), named without the root `gpuyard`, and what its files
may import at the top and, beyond that, inside functions. The most specific row counts; a file without a row is an error.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.python_source import parse_source

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("components", "stacks", "training_jobs")
_GOOGLE = {"google", "requests", "urllib3"}  # what its clients speak through
_STORAGE = {"fsspec", "s3fs", "gcsfs", "adlfs", "boto3", "botocore", "azure", *_GOOGLE}
_NEUTRAL = {"pydantic", "pydantic_core", "yaml", "problems", "counts", "plain_data", "run_bucket"}
_COMPONENTS = {
    f"components.{name}" for name in ("lazy", "lazy_sdk", "spec", "catalogue", "validation", "naming", "boot", "job_targets", "expiry")
}
_BASES = {f"components.{name}" for name in ("base", "bucket_base", "network_base", "notify_base", "pool_base", "job_service_base")}
_ABOVE_CLOUDS = _COMPONENTS | _BASES | {"components.registry"}
_JOBS = {
    f"training_jobs.{name}"
    for name in (
        "spec",
        "target",
        "run",
        "run_layout",
        "admission",
        "state",
        "status",
        "errors",
        "code_files",
        "data_entries",
        "durations",
        "value_bounds",
        "ignore_patterns",
        "ignore_rules",
        "key_files",
        "other_tools",
        "overrides",
        "sweep",
        "comparison",
        "secret_rule",
        "process_limits",
        "packaging",
        "strict_yaml",
        "bucket_documents",
    )
}
_STORED = _JOBS | {"training_jobs.store", "training_jobs.clouds"}
_JOURNALED = _STORED | {"training_jobs.lifecycle.journal"}
_BACKENDS = {
    f"training_jobs.backends.{name}"
    for name in ("base", "submit_once", "node_results", "labels", "log_follow", "state_tables", "bucket_logs")
}


@dataclass(frozen=True)
class Row:
    """What a room may import besides the standard library and itself."""

    top: set[str]
    inside: set[str] = field(default_factory=set)  # inside functions only


def _cloud(*sdk: str) -> Row:
    return Row({"pulumi", *_NEUTRAL, *_ABOVE_CLOUDS, *sdk}, set())


def _backend(*sdk: str) -> Row:
    return Row({"tenacity", "psutil", "training_jobs.mailbox", *_BACKENDS, *_NEUTRAL, *_JOURNALED}, set(sdk))


_NODE_PARTS = {"training_jobs.launch.hook", "training_jobs.launch.storage"}  # what the trainer shares with launch

TABLE = {
    "components": Row({"components.lazy"}),  # its public names load on use
    **{name: Row(_NEUTRAL | _COMPONENTS) for name in _COMPONENTS},
    "components.lazy": Row(set()),
    "counts": Row(set()),
    "plain_data": Row(set()),
    "run_bucket": Row(set()),
    "problems": Row({"pydantic", "pydantic_core"}),
    **{name: Row({"pulumi"} | _NEUTRAL | _COMPONENTS | _BASES) for name in _BASES | {"components.stack_targets"}},
    "components.registry": Row({"pulumi"} | _NEUTRAL | _COMPONENTS),
    "components.local": _cloud(),
    "components.aws": _cloud("pulumi_aws"),
    "components.gcp": _cloud("pulumi_gcp"),
    "components.azure": _cloud("pulumi_azure_native"),
    "components.planning": Row({"pulumi", "rich", *_NEUTRAL, *_ABOVE_CLOUDS}),
    "training_jobs": Row(set()),
    **{name: Row(_NEUTRAL | _JOBS) for name in _JOBS},
    "training_jobs.spec": Row(_NEUTRAL | _JOBS | {"training_jobs.launch.variables"}),  # one rule for names, here and on the node
    "training_jobs.clouds": Row({"training_jobs.errors", "plain_data"}, {"boto3", "botocore", "azure", *_GOOGLE}),
    "training_jobs.store": Row(_NEUTRAL | _STORED, _STORAGE),
    "training_jobs.lifecycle": Row(
        _NEUTRAL | _STORED | {"tenacity", "training_jobs.backends.base", "training_jobs.backends.load_backend"}, {"fsspec"}
    ),
    "training_jobs.runner": Row(
        _NEUTRAL
        | _STORED
        | {"training_jobs.lifecycle", "training_jobs.backends.base", "training_jobs.backends.load_backend", "training_jobs.yard_data"}
    ),
    "training_jobs.yard_data": Row({*_NEUTRAL, *_STORED}),
    "training_jobs.samplers": Row(_NEUTRAL | _JOBS, {"optuna"}),
    "training_jobs.search": Row({"training_jobs.runner", "training_jobs.samplers", "training_jobs.trials", *_NEUTRAL, *_JOBS}),
    "training_jobs.trials": Row({"training_jobs.runner", *_NEUTRAL, *_JOBS}),
    "training_jobs.backends": Row(_NEUTRAL | _JOURNALED),
    "training_jobs.backends.local": Row(_backend().top | {"training_jobs.launch.output", "training_jobs.launch.descendants"}),
    "training_jobs.backends.aws_batch": _backend("boto3", "botocore"),
    "training_jobs.backends.sagemaker": _backend("boto3", "botocore"),
    "training_jobs.backends.vertex": _backend(*_GOOGLE),
    "training_jobs.backends.azureml": _backend("azure"),
    "training_jobs.backends.slurm": _backend(),
    "training_jobs.mailbox": Row(_NEUTRAL | _STORED),
    "training_jobs.head": Row(_NEUTRAL | _STORED | {"training_jobs.mailbox", *_BACKENDS}),
    "training_jobs.launch": Row(set(), {"torch", "fsspec"}),
    "training_jobs.launch.bootstrap": Row({"fsspec"}),  # a script: it has no functions, and branches to this import
    "training_jobs.launch.elastic": Row({"torch", "training_jobs.launch"}),  # subclasses of torch's; imported inside a function
    "training_jobs.launch.secrets": Row({"training_jobs.launch"}, {"torch", *_STORAGE}),
    "training_jobs.train": Row({"torch", "numpy", "fsspec", "safetensors", *_NODE_PARTS, "gpuyard_hook"}),
    "stacks": Row({"components", "training_jobs", "pulumi", "rich", "typer", "click", "psutil", "fsspec", "tenacity", *_NEUTRAL}),
    "stacks.cli.chart": Row({"training_jobs", *_NEUTRAL}, {"matplotlib"}),
}


class Imported(NamedTuple):
    """One import of a file, by its absolute name without the root."""

    name: str
    in_function: bool
    typing_only: bool


def row_of(module: str) -> str:
    """Return the most specific row of the table: `components.base` is not held to the row of `components`."""
    parts = module.split(".")
    found = next((name for size in range(len(parts), 0, -1) if (name := ".".join(parts[:size])) in TABLE), None)
    if found is None or (found in ROOMS and found != "stacks" and module != found):
        raise LookupError(f"{module} has no row in the table of rooms: add one")
    return found


def imports(source: str, module: str, is_package: bool) -> Iterator[Imported]:
    """Yield every import of a file, those inside functions and for types only included."""
    package = f"gpuyard.{module}".split(".") if is_package else f"gpuyard.{module}".split(".")[:-1]

    def visit(node: ast.AST, inside: bool, typing: bool) -> Iterator[Imported]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Imported(alias.name.removeprefix("gpuyard."), inside, typing) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                name = ".".join([*base, *([child.module] if child.module else [])])
                yield from (Imported(f"{name}.{alias.name}".removeprefix("gpuyard."), inside, typing) for alias in child.names)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
                yield from visit(child, inside or function, typing or types)

    return visit(parse_source(source), False, False)


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return the imports of a file that its room does not allow."""
    room = row_of(module)
    row = TABLE[room]
    return [
        f"{module} imports {name}" + (" inside a function" if inside else "")
        for name, inside, typing in imports(source, module, is_package)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not _within(name, {room, *row.top, *(row.inside if inside or typing else ())})
    ]


def _within(name: str, allowed: set[str]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def files() -> list[Path]:
    return [
        *(CHECKOUT / "gpuyard" / name for name in ("counts.py", "plain_data.py", "problems.py")),
        *sorted(path for room in ROOMS for path in (CHECKOUT / room).rglob("*.py")),
    ]


def module_of(path: Path) -> str:
    parts = Path(str(path.relative_to(CHECKOUT)).removeprefix("gpuyard/")).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_file_imports_what_its_room_may(path: Path) -> None:
    module = module_of(path)
    source = path.read_text()
    if path.name == "__init__.py" and module in ROOMS:  # their own rooms, for type checkers
        assert all(
            _within(name, {module}) for name, *_ in imports(source, module, True) if name.split(".")[0] not in sys.stdlib_module_names
        )
    else:
        assert wrong_imports(source, module, path.name == "__init__.py") == []


def test_no_imports_form_a_circle() -> None:
    sources = {module_of(path): (path.read_text(), path.name == "__init__.py") for path in files()}
    assert circle(graph(sources)) == []


def graph(sources: Mapping[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Return the modules that each module imports when it runs, at the top or inside functions."""
    found: dict[str, set[str]] = {}
    for module, (source, is_package) in sources.items():
        named = {name for name, _, typing in imports(source, module, is_package) if not typing}
        known = {name if name in sources else name.rpartition(".")[0] for name in named}
        found[module] = {name for name in known if name in sources and name != module}
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle of imports, empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("path", sorted((CHECKOUT / "benchmarks").rglob("*.py")), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_benchmark_imports_no_test(path: Path) -> None:
    assert [name for name, *_ in imports(path.read_text(), "benchmarks.x", False) if _within(name, {"tests"})] == []


def test_make_bench_starts_every_benchmark() -> None:
    recipe = (CHECKOUT / "Makefile").read_text()
    pattern = re.search(r"^bench: .*\n\t.*for file in (\S+);", recipe, re.MULTILINE)
    assert pattern is not None
    started = {path.name for path in CHECKOUT.glob(pattern[1])}
    scripts = {path.name for path in (CHECKOUT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert started == scripts != set()


def test_a_circle_is_found() -> None:
    a = ("def f():\n    from . import b", False)
    assert circle(graph({"stacks.a": a, "stacks.b": ("from gpuyard.stacks.a import f", False)})) != []
    assert circle(graph({"stacks.a": a, "stacks.b": ("import json", False)})) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("components.spec", "import pulumi"),
        ("components.spec", "from pulumi.runtime import config"),
        ("components.naming", "def f():\n    import boto3"),
        ("components.base", "import gpuyard.training_jobs.target"),
        ("components.base", "from .local import Bucket"),
        ("components.local.bucket", "from gpuyard.components.aws import Bucket"),
        ("components.local.bucket", "from ..aws import bucket"),
        ("components.local.bucket", "from gpuyard.training_jobs import target"),
        ("components.local.bucket", "import pulumi_aws"),
        ("components.planning.cost", "import gpuyard.stacks.program"),
        ("training_jobs.spec", "import torch"),
        ("training_jobs.spec", "from gpuyard.components import naming"),
        ("training_jobs.spec", "def f():\n    import pulumi"),
        ("training_jobs.lifecycle.journal", "import fsspec"),
        ("training_jobs.store", "try:\n    import boto3\nexcept ImportError: pass"),
        ("training_jobs.runner", "from .backends import local"),
        ("training_jobs.runner", "from gpuyard.training_jobs.backends.local import LocalBackend"),
        ("training_jobs.backends.vertex", "def f():\n    import boto3"),
        ("training_jobs.backends.vertex", "from . import local"),
        ("training_jobs.backends.vertex", "from google.cloud import aiplatform"),
        ("training_jobs.launch.parent_death_shim", "import torch"),
        ("training_jobs.launch.parent_death_shim", "import psutil"),
        ("training_jobs.launch.parent_death_shim", "from ..errors import UsageError"),
        ("training_jobs.launch.parent_death_shim", "def f():\n    from gpuyard.training_jobs import state"),
        ("training_jobs.launch.topology", "def f():\n    import boto3"),
        ("training_jobs.train.loop", "import pydantic"),
        ("training_jobs.train.loop", "from ..launch import parent_death_shim"),
        ("stacks.program", "import pulumi_aws"),
        ("stacks.cli.submit", "def f():\n    import boto3"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert wrong_imports(source, module) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("components.spec.pool", "from ..naming import NAME_LIMIT\nimport json\nfrom pydantic import Field"),
        ("components.local.bucket", "from ..base import Component\nfrom .disk import PRIVATE\nfrom pulumi import dynamic"),
        ("training_jobs.lifecycle.journal", "def f():\n    import fsspec"),
        ("training_jobs.runner", "from .backends import load_backend\nfrom .state import State"),
        ("training_jobs.backends.vertex", "def f():\n    from google.cloud import aiplatform"),
        ("training_jobs.launch.hook", "def f():\n    import torch.distributed"),
        ("training_jobs.train.loop", "import torch\nfrom ..launch import hook"),
        ("stacks.program", "from gpuyard.components import registry\nfrom .settings import load"),
    ],
)
def test_an_allowed_import_is_not(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_a_new_file_needs_a_row() -> None:
    with pytest.raises(LookupError, match=r"training_jobs\.helpers has no row"):
        wrong_imports("", "training_jobs.helpers")
    assert row_of("components.local.disk") == "components.local"
