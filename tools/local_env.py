"""The environment of the local stack: state under ./.yard, no account. `python3 tools/local_env.py` prints it for a shell.

The one documented line for plain `pulumi` commands: eval "$(make -s env)"
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from tools.engine.bootstrap import NoEngineError, ensure
from tools.progress import Progress

__all__ = ["ROOT", "STACK", "environment", "main", "path", "settings"]

ROOT = Path(__file__).resolve().parents[1]
STACK = "local"
# A user's own backend, stack or passphrase must not leak into the demo, nor the demo's into theirs.
_FOREIGN = ("PULUMI_STACK", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE_FILE", "GPUYARD_TARGETS")


def settings(root: Path) -> dict[str, str]:
    """Return the engine's variables, without PATH."""
    return {
        "PULUMI_HOME": str(root / ".yard" / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{root / '.yard' / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "",  # set, and empty: unset is an error
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    }


def path(root: Path, engine: Path, current: str) -> str:
    """Return PATH with the engine and .venv first, each once."""
    first = [str(engine), str(root / ".venv" / "bin")]
    return os.pathsep.join([*first, *(entry for entry in current.split(os.pathsep) if entry not in first)])


def environment(root: Path, engine: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Return the local stack's environment, made from `base`. Creates the folder of the engine's state."""
    (root / ".yard" / "state").mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in base.items() if name not in _FOREIGN}
    return {**kept, **settings(root), "PATH": path(root, engine, base.get("PATH", ""))}


def main() -> int:
    """Print export lines for a POSIX shell."""
    progress = Progress(sys.stderr, "pulumi: ")
    try:
        engine = ensure(say=progress.say)
    except NoEngineError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    progress.end()
    (ROOT / ".yard" / "state").mkdir(parents=True, exist_ok=True)
    for name in _FOREIGN:
        print(f"unset {name}")
    for name, value in {**settings(ROOT), "PATH": path(ROOT, engine.folder, os.environ.get("PATH", ""))}.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
