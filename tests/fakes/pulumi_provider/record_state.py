"""Records the states of stacks under the stand-in providers. Later versions must take them over without a replacement.

Run it once before each release: `python tests/fakes/pulumi_provider/record_state.py dev-aws 0.1.0`. A recorded state never changes.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT))  # started by its path, so the checkout is not on sys.path
from tests.fakes.pulumi_provider import project  # noqa: E402
from tools.engine import bootstrap  # noqa: E402

FOLDER = CHECKOUT / "tests" / "engine" / "states"
_OF_THIS_RUN = ("created", "modified", "sourcePosition", "stackTrace")


def environment(home: Path) -> dict[str, str]:
    """Return the engine's environment, as tests/engine/conftest.py sets it."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
        "PATH": f"{bootstrap.ensure().folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "PULUMI_HOME": str(home),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    }


def stack(folder: Path, env: dict[str, str], name: str) -> project.Project:
    """Create a project of this checkout with one of its stacks initialised."""
    files = ("Pulumi.yaml", "stacks/__main__.py", f"stacks/Pulumi.{name}.yaml")
    made = project.make(folder, env, {file: (CHECKOUT / file).read_text(encoding="utf-8") for file in files})
    made.pulumi("stack", "init", name)
    return made


def compact(exported: str) -> bytes:
    """Return a stack's export, compressed, without the values of a single run: equal states give equal bytes."""
    document: dict[str, Any] = json.loads(exported)
    for resource in document["deployment"]["resources"]:
        for key in _OF_THIS_RUN:
            resource.pop(key, None)
    return gzip.compress(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), mtime=0)


def main() -> None:
    """Record the state of a stack under a version."""
    name, version = sys.argv[1:]
    file = FOLDER / f"{name}-{version}.json.gz"
    if file.exists():
        sys.exit(f"{file} is recorded already; a recorded state never changes, because users of that version have it")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        yard = stack(Path(folder) / "yard", environment(Path(folder) / "home"), name)
        yard.up()
        file.write_bytes(compact(yard.pulumi("stack", "export")))
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
