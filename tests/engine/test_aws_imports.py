"""Which service modules of the SDK the AWS components import: each costs seconds, so only those in use."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.helpers.committed_stacks import CHECKOUT

_LOADED = """
import json, sys
print(json.dumps(sorted(name for name in sys.modules if name.startswith("pulumi_aws"))))
"""
_NETWORK = """
from pathlib import Path
from gpuyard.components.aws import Network
from gpuyard.components.planning.recorder import record
def program():
    Network("net", {"zones": ["us-east-1a"]}, tags={"owner": "ml@acme.io", "expires": "never"})
found = record(program, project="gpuyard", stack="test", root=Path("."))
assert len(found.resources) > 10 and not found.problems, found.problems
"""


def loaded(program: str) -> set[str]:
    """Return the modules of pulumi_aws that a program loads, in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", program + _LOADED], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


def services(modules: set[str]) -> set[str]:
    """Return the services whose files are loaded. A service that was only named is a lazy module without a file."""
    return {name.split(".")[1] for name in modules if name.count(".") > 1}


def test_importing_loads_no_sdk() -> None:
    assert loaded("import gpuyard.components.aws") == set()


def test_naming_a_component_loads_no_service() -> None:
    assert services(loaded("from gpuyard.aws import GpuPool, JobService, Network")) == set()


def test_a_network_loads_only_its_own_services() -> None:
    assert services(loaded(_NETWORK)) <= {"cloudwatch", "ec2", "iam", "kms", "vpc"}
