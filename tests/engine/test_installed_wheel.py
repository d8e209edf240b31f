"""A wheel in an environment of its own, used by a program whose own folders are named components, stacks and training_jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hatchling.builders.wheel import WheelBuilder

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.engine
PROGRAM = """
import pulumi
from components.names import POOL
from stacks.tags import TAGS
from training_jobs.sizes import NODES

from gpuyard.local import Bucket, GpuPool, JobService, Network

net = Network("net", tags=TAGS)
runs = Bucket("runs", {"on_destroy": "delete"})
pool = GpuPool(POOL, {"max_nodes": NODES, "service": "local"}, network=net)
jobs = JobService("train", pools=[pool], writes=[runs])
pulumi.export("job_targets", jobs.targets)
"""
FILES = {
    "Pulumi.yaml": "name: team\nruntime: {name: python, options: {toolchain: pip, virtualenv: venv}}\n",
    "Pulumi.dev.yaml": "config: {}\n",
    "__main__.py": PROGRAM,
    "components/__init__.py": "",
    "components/names.py": 'POOL = "cpus"\n',
    "stacks/__init__.py": "",
    "stacks/tags.py": 'TAGS = {"team": "nlp"}\n',
    "training_jobs/__init__.py": "",
    "training_jobs/sizes.py": "NODES = 1\n",
    "job.yaml": "name: hello\nlauncher: none\npreflight: skip\ncommand: [python3, -c, 'print(1)']\n",
}
_GENERIC = ("benchmarks", "components", "examples", "stacks", "tests", "tools", "training_jobs")


class Team(NamedTuple):
    """A team's program, and the environment in which its commands run."""

    root: Path
    env: dict[str, str]

    def run(self, *argv: str, cwd: Path | None = None) -> str:
        """Run a command; return what it printed on stdout."""
        done = subprocess.run(
            argv, cwd=cwd or self.root, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, code: str, *arguments: str, cwd: Path | None = None) -> str:
        """Run Python of the team's environment."""
        return self.run(str(self.root / "venv/bin/python"), "-c", code, *arguments, cwd=cwd)

    def gpuyard(self, *arguments: str) -> str:
        """Run the command line as an installed script would."""
        return self.python("from gpuyard.stacks.cli import main; main()", *arguments)

    def pulumi(self, *arguments: str) -> str:
        """Run the engine."""
        return self.run("pulumi", *arguments, "--non-interactive")


@pytest.fixture
def team(tmp_path: Path, engine_environment: dict[str, str]) -> Team:
    """Return a team's program beside a virtual environment that holds the wheel; its dependencies are this environment's."""
    root = tmp_path / "team"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
    (site,) = (root / "venv").glob("lib/python*/site-packages")
    (wheel,) = WheelBuilder(str(CHECKOUT)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # a path alone: the checkout's own .pth is not read
    (tmp_path / "state").mkdir()
    env = {**engine_environment, "PULUMI_BACKEND_URL": f"file://{tmp_path}/state"}
    return Team(root, {name: value for name, value in env.items() if name != "PYTHONPATH"})


def test_folders_of_the_same_names_do_not_disturb_an_installed_gpuyard(team: Team, tmp_path: Path) -> None:
    plan = json.loads(team.gpuyard("plan", "--stack", "dev", "--json"))
    assert plan["stack"] == "dev"
    team.pulumi("stack", "init", "dev")
    assert json.loads(team.pulumi("preview", "--json"))["changeSummary"] == {"create": 8}
    team.pulumi("up", "--yes", "--skip-preview")
    status = json.loads(team.gpuyard("submit", "job.yaml", "--stack", "dev", "--wait", "--json"))["status"]
    assert (status["state"], status["pool"], status["stack"]) == ("SUCCEEDED", "cpus", "team/dev")
    team.pulumi("destroy", "--yes", "--skip-preview")
    assert not (team.root / ".yard").exists()


def test_an_install_brings_no_generic_name(team: Team, tmp_path: Path) -> None:
    code = f"import gpuyard, importlib.util as u, json; print(json.dumps([gpuyard.__file__, [n for n in {_GENERIC} if u.find_spec(n)]]))"
    home, generic = json.loads(team.python(code, cwd=tmp_path))
    assert home.startswith(str(team.root / "venv") + os.sep)
    assert generic == []
    team.gpuyard("init", "made")  # its templates are in the wheel
    assert json.loads(team.gpuyard("plan", "--stack", "dev", "--json", "-C", "made"))["problems"] == []
