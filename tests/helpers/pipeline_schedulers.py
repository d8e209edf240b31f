"""Stand-ins for the schedulers of pipelines: a machine with its own PATH, a crontab parser, GitHub's token service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
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


ACTIONS = {
    "actions/upload-artifact": "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f",  # v7.0.0
    "actions/download-artifact": "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c",  # v8.0.1
}
"""The actions that the recipes may use, by the commit of their release tag (refs/tags of their repositories, read 2026-12)."""


def install_programs(programs: Path, installed: Path) -> None:
    """Put git and python3 beside the program gpuyard. Both note their arguments; a venv of this python3 has such a pip, and gpuyard."""
    venv = programs.parent / "venv"
    venv.mkdir()
    scripts = {
        venv / "pip": f'echo "pip $@" >> {installed}; case "$*" in *"wheel "*) mkdir -p wheels; touch wheels/gpuyard.whl;; esac',
        venv / "gpuyard": f'exec {programs}/gpuyard "$@"',
        programs / "git": f'echo "git $@" >> {installed}',
        programs / "python3": f'[ "$1 $2" = "-m venv" ] || exec {sys.executable} "$@"; mkdir -p "$3" && cp -r {venv} "$3/bin"',
    }
    for path, script in scripts.items():
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def run_workflow(recipe: Path, folder: Path, bare: Mapping[str, str], tokens: str) -> tuple[int, Path, str]:
    """Run the jobs of a workflow in order, each on a new machine. Return exit code, workspace and output of the last one."""
    artifacts, output = Path(tempfile.mkdtemp(dir=folder)), ""
    for job in yaml.safe_load(recipe.read_text())["jobs"].values():
        code, workspace, printed = _run_job(job, folder, bare, tokens, artifacts)
        output += printed
        if code:
            break
    return code, workspace, output


def _run_job(job: Any, folder: Path, bare: Mapping[str, str], tokens: str, artifacts: Path) -> tuple[int, Path, str]:
    run = Path(tempfile.mkdtemp(dir=folder))
    (run / "workspace").mkdir()
    for name in ("env", "path"):
        (run / name).touch()
    signed_in = {"ACTIONS_ID_TOKEN_REQUEST_URL": tokens, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-this-job"}
    base = {
        **bare, **job["env"], "RUNNER_TEMP": str(run), "GITHUB_ENV": str(run / "env"), "GITHUB_PATH": str(run / "path"),
        "GITHUB_REPOSITORY": "acme/training", "GITHUB_REF_NAME": "main", **(signed_in if "id-token" in job["permissions"] else {}),
    }  # fmt: skip
    output = ""
    for step in job["steps"]:
        if "uses" in step:
            _move_artifact(step, run, artifacts)
            continue
        more = dict(line.split("=", 1) for line in (run / "env").read_text().splitlines())
        path = ":".join([*(run / "path").read_text().split(), base["PATH"]])
        own = {name: value.replace("${{ github.token }}", "of-github") for name, value in step.get("env", {}).items()}
        done = run_command(["bash", "-e", "-c", step["run"]], run / "workspace", {**base, **more, **own, "PATH": path})
        output += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, run / "workspace", output
    return 0, run / "workspace", output


def _move_artifact(step: Any, run: Path, artifacts: Path) -> None:
    """Do what the action of a step does: keep a folder for a later job, or bring it back."""
    action, _, commit = step["uses"].partition("@")
    assert ACTIONS[action] == commit
    kept = artifacts / step["with"]["name"]
    used = run / "workspace" / step["with"]["path"].replace("${{ runner.temp }}", str(run))
    shutil.copytree(*((used, kept) if action == "actions/upload-artifact" else (kept, used)))


def check_permissions(recipe: Path) -> dict[str, Any]:
    """Check that only the job which submits may request a token, that it builds nothing, and that packages come from a lock with hashes.

    Returns the job which submits.
    """
    text = recipe.read_text()
    found = yaml.safe_load(text)
    install, submit = found["jobs"]["install"], found["jobs"]["submit"]
    assert (found["permissions"], install["permissions"]) == ({}, {"contents": "read"})
    assert submit["permissions"] == {"contents": "read", "id-token": "write"}
    assert submit["needs"] == "install"
    for job in found["jobs"].values():
        assert all(ACTIONS[step["uses"].partition("@")[0]] == step["uses"].partition("@")[2] for step in job["steps"] if "uses" in step)
    lines = re.findall(r'pip"? ((?:download|install|wheel) .*)', text)
    assert len(lines) == 4
    assert all("--require-hashes" in line or "--no-index" in line for line in lines), lines
    assert (recipe.parent / Path(install["env"]["LOCK"]).name).is_file()
    assert re.fullmatch(r"[0-9a-f]{40}", install["env"]["COMMIT"])
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "${{ secrets." not in code
    return dict(submit)


@contextmanager
def token_service(audience: str = "sts.amazonaws.com", value: str = "header.claims.signature") -> Iterator[str]:
    """Run GitHub's token service and yield the URL that a job gets. `audience`: the token's audience."""
    handler = type("GitHub", (GitHub,), {"audience": audience, "token": value})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
    server.shutdown()
    thread.join()
    server.server_close()
