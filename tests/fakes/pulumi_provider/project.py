"""A Pulumi project whose clouds are stand-ins: the real engine, driven by commands, and what the stand-in's cloud then holds."""

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
    """A project folder, the environment that drives it, and the stand-in's cloud."""

    root: Path
    env: dict[str, str]
    said: list[str] = field(default_factory=list)  # all that any command printed

    @property
    def cloud(self) -> Path:
        """The folder that is the cloud."""
        return Path(self.env["GPUYARD_STANDIN_CLOUD"])

    def pulumi(self, *arguments: str, ok: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run a pulumi command; returns what it printed, stderr included where it fails."""
        argv = ["pulumi", *arguments, "--non-interactive"]
        done = subprocess.run(
            argv, cwd=self.root, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        self.said += [done.stdout, done.stderr]
        assert (done.returncode == 0) is ok, f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """Run a pulumi command with --json and parse what it printed."""
        return json.loads(self.pulumi(*arguments, "--json"))

    def up(self, *arguments: str, ok: bool = True, env: Mapping[str, str] | None = None) -> str:
        """`pulumi up` without a preview before it."""
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, ok=ok, env=env)

    def living(self) -> dict[str, dict[str, Any]]:
        """What exists in the cloud: urn -> its document."""
        documents = [json.loads(file.read_text(encoding="utf-8")) for file in self.cloud.glob("*.json")]
        return {document["urn"]: document for document in documents}

    def calls(self, *names: str) -> Counter[tuple[str, str]]:
        """(call, urn) -> how often it came in since the last `forget`."""
        file = self.cloud / "calls.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
        return Counter((line["call"], line["urn"]) for line in lines if not names or line["call"] in names)

    def forget(self) -> None:
        """Forget the calls so far."""
        (self.cloud / "calls.jsonl").unlink(missing_ok=True)


def make(root: Path, environment: Mapping[str, str], files: Mapping[str, str]) -> Project:
    """A project in a new folder. `files` are its texts by path, Pulumi.yaml among them; it gets the stand-in and a state of its own."""
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
