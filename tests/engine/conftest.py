"""The real engine for tests: a home and state of its own, a project in a path with spaces, no downloads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.engine import bootstrap

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def engine_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of every `pulumi` in these tests."""
    engine = bootstrap.ensure().folder
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
        "PATH": f"{engine}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "PULUMI_HOME": str(tmp_path_factory.mktemp("pulumi home")),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    }


@dataclass(frozen=True)
class Project:
    """A copy of the project with the stack `local`, and the engine to run it."""

    root: Path
    env: dict[str, str]

    @property
    def yard(self) -> Path:
        """Return the folder of the yard."""
        return self.root / ".yard"

    @property
    def stack_file(self) -> Path:
        """Return the path of the settings of the stack `local`."""
        return self.root / "stacks" / "Pulumi.local.yaml"

    def change(self, old: str, new: str) -> None:
        """Edit the stack's settings."""
        text = self.stack_file.read_text()
        assert old in text
        self.stack_file.write_text(text.replace(old, new))

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a pulumi command, with its output on stdout."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def pulumi(self, *arguments: str, ok: bool = True, below: str = "") -> str:
        """Run a pulumi command, from a folder below the project if given. Return its output."""
        command = ["pulumi", *arguments, "--non-interactive"]
        done = subprocess.run(
            command, cwd=self.root / below, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is ok, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stdout + done.stderr

    def json(self, *arguments: str, below: str = "") -> Any:
        """Run a pulumi command with --json and return the parsed output."""
        return json.loads(self.pulumi(*arguments, "--json", below=below))


@pytest.fixture
def project(tmp_path: Path, engine_environment: dict[str, str]) -> Project:
    """Create a project for one test, with a state of its own, in a path with spaces."""
    root = tmp_path / "a yard of one's own"
    (root / "stacks").mkdir(parents=True)
    for name in ("Pulumi.yaml", "stacks/Pulumi.local.yaml", "stacks/__main__.py"):
        shutil.copy(CHECKOUT / name, root / name)
    (root / ".venv").symlink_to(CHECKOUT / ".venv")
    (tmp_path / "state").mkdir()
    return Project(root, {**engine_environment, "PULUMI_BACKEND_URL": f"file://{tmp_path}/state"})
