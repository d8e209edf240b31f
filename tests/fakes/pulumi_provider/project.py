"""A Pulumi project that uses the stand-in providers with the real engine, and the contents of its fake cloud."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.pulumi_provider.resource_rules import PACKAGES

_PROVIDER = Path(__file__).with_name("provider.py")


@dataclass
class Project:
    """A project folder, the environment of its commands, and its fake cloud."""

    root: Path
    env: dict[str, str]
    output: list[str] = field(default_factory=list)  # all output of all commands

    @property
    def cloud(self) -> Path:
        """The folder that is the fake cloud."""
        return Path(self.env["GPUYARD_STANDIN_CLOUD"])

    def pulumi(self, *arguments: str, ok: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run a pulumi command. Return its output, with stderr if it fails."""
        argv = ["pulumi", *arguments, "--non-interactive"]
        done = subprocess.run(
            argv, cwd=self.root, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        self.output += [done.stdout, done.stderr]
        assert (done.returncode == 0) is ok, f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """Run a pulumi command with --json and return the parsed output."""
        return json.loads(self.pulumi(*arguments, "--json"))

    def up(self, *arguments: str, ok: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run `pulumi up` without a preview."""
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, ok=ok, env=env)

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the resources in the fake cloud: URN -> document."""
        documents = [json.loads(file.read_text(encoding="utf-8")) for file in self.cloud.glob("*.json")]
        return {document["urn"]: document for document in documents}

    def calls(self, *names: str) -> Counter[tuple[str, str]]:
        """Return (call, URN) -> number of calls since the last `forget`."""
        file = self.cloud / "calls.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
        return Counter((line["call"], line["urn"]) for line in lines if not names or line["call"] in names)

    def forget(self) -> None:
        """Forget the recorded calls."""
        (self.cloud / "calls.jsonl").unlink(missing_ok=True)


def make(root: Path, environment: Mapping[str, str], files: Mapping[str, str]) -> Project:
    """Create a project in a new folder. `files` maps paths to texts and contains Pulumi.yaml. It has its own provider and state."""
    plugin, state = root / "plug in", root / "state"
    plugin.mkdir(parents=True)
    state.mkdir()
    for package in PACKAGES:
        launcher = plugin / f"pulumi-resource-{package}"
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{_PROVIDER}" "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)
    project = root / "a project"
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text, encoding="utf-8")
    with (project / "Pulumi.yaml").open("a", encoding="utf-8") as file:
        file.write("plugins:\n  providers:\n")
        file.writelines(f"    - {{name: {package}, path: {json.dumps(str(plugin))}}}\n" for package in PACKAGES)
    env = {**environment, "PULUMI_BACKEND_URL": f"file://{state}", "GPUYARD_STANDIN_CLOUD": str(root / "cloud")}
    return Project(project, env)
