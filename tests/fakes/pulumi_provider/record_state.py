"""Records the states of stacks under the stand-ins, which later versions must take over without replacing anything.

Once for each release, before it: `python tests/fakes/pulumi_provider/record_state.py dev-aws 0.1.0`.
A recorded state is never changed again.
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
sys.path.insert(0, str(CHECKOUT))  # started as a file
from tests.fakes.pulumi_provider import project  # noqa: E402
from tools.engine import bootstrap  # noqa: E402

FOLDER = CHECKOUT / "tests" / "engine" / "states"
_OF_THIS_RUN = ("created", "modified", "sourcePosition", "stackTrace")


def environment(home: Path) -> dict[str, str]:
    """The environment of the engine, as tests/engine/conftest.py makes it."""
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
    """The project of this checkout with one of its stacks, initialised."""
    files = ("Pulumi.yaml", "stacks/__main__.py", f"stacks/Pulumi.{name}.yaml")
    made = project.make(folder, env, {file: (CHECKOUT / file).read_text(encoding="utf-8") for file in files})
    made.pulumi("stack", "init", name)
    return made


def compact(exported: str) -> bytes:
    """A stack's export without what is true of one run alone, compressed; the same bytes for the same state."""
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
        sys.exit(f"{file} is recorded already; a state is what a user of that version has, so it never changes")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        yard = stack(Path(folder) / "yard", environment(Path(folder) / "home"), name)
        yard.up()
        file.write_bytes(compact(yard.pulumi("stack", "export")))
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
