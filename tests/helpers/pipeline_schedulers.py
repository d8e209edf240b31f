"""Stand-ins for the schedulers of pipelines: a machine with its own PATH, a crontab parser, GitHub's token service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.aws.batch import FakeBatch


@dataclass
class SchedulerMachine:
    """A scheduler's machine: its folder, the programs on its PATH, the fakes and their environments."""

    batch: FakeBatch
    folder: Path
    bin: Path

    def program(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def answers(self, *codes: int) -> None:
        """Replace gpuyard by a program that exits with `codes` in turn and records its calls."""
        (self.folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        self.program("gpuyard", f'cd "{self.folder}"; echo "$@" >> called; code=$(sed 1q codes); sed -i 1d codes; exit "$code"')

    def called(self) -> list[str]:
        """Return the arguments of each call of the replaced gpuyard."""
        return (self.folder / "called").read_text().splitlines()

    def bare(self) -> dict[str, str]:
        """Return the environment of a process without credentials: the endpoints only."""
        found = {name: value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")}
        return {**found, "HOME": str(self.folder), "PATH": f"{self.bin}:/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}

    def with_role(self) -> dict[str, str]:
        """Return the environment of a process on a machine with a role."""
        return {**self.bare(), **{name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}}


def run_command(argv: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command with this environment and no other."""
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


def parse_crontab(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Parse a crontab as cron does: its variables, and its (schedule, command) lines."""
    variables, lines = {}, []
    for line in (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")):
        if assigned := re.fullmatch(r"(\w+)\s*=\s*(.*)", line):
            variables[assigned[1]] = assigned[2]
            continue
        *schedule, command = line.split(maxsplit=5)
        command, _, _ = re.sub(r"(?<!\\)%", "\0", command).partition("\0")  # an unescaped % begins the command's input
        lines.append((" ".join(schedule), command.replace("\\%", "%")))
    return variables, lines


class GitHub(BaseHTTPRequestHandler):
    """GitHub's token service, as a job with `id-token: write` uses it."""

    audience, token = "", ""

    def do_GET(self) -> None:
        welcome = self.headers["Authorization"] == "bearer of-this-job" and f"audience={self.audience}" in self.path
        body = json.dumps({"value": self.token}).encode() if welcome else b"{}"
        self.send_response(200 if welcome else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def run_workflow(recipe: Path, folder: Path, bare: Mapping[str, str], tokens: str) -> tuple[int, Path, str]:
    """Run the steps of a workflow's only job in order. Return exit code, workspace and output."""
    [job] = yaml.safe_load(recipe.read_text())["jobs"].values()
    run = Path(tempfile.mkdtemp(dir=folder))
    (run / "workspace").mkdir()
    exported = run / "env"
    exported.touch()
    base = {
        **bare, **job["env"], "RUNNER_TEMP": str(run), "GITHUB_ENV": str(exported), "GITHUB_REPOSITORY": "acme/training",
        "GITHUB_REF_NAME": "main", "ACTIONS_ID_TOKEN_REQUEST_URL": tokens, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-this-job",
    }  # fmt: skip
    output = ""
    for step in job["steps"]:
        more = dict(line.split("=", 1) for line in exported.read_text().splitlines())
        own = {name: value.replace("${{ github.token }}", "of-github") for name, value in step.get("env", {}).items()}
        done = run_command(["bash", "-e", "-c", step["run"]], run / "workspace", {**base, **more, **own})
        output += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, run / "workspace", output
    return 0, run / "workspace", output


@contextmanager
def token_service(audience: str = "sts.amazonaws.com", value: str = "header.claims.signature") -> Iterator[str]:
    """Run GitHub's token service and yield the URL that a job gets. `audience`: the token's audience."""
    handler = type("GitHub", (GitHub,), {"audience": audience, "token": value})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
    server.shutdown()
    thread.join()
    server.server_close()
