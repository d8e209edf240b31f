"""launch ends processes that detached themselves from a job, and collects those that exit by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
CHECKOUT = Path(__file__).resolve().parents[4]

RUNS = """
import os, sys, time
from pathlib import Path
from gpuyard.training_jobs.launch.descendants import adopt_orphans, descendants
from gpuyard.training_jobs.launch.processes import NodeProcess
adopt_orphans()
script = "setsid env -i sleep 60 & (setsid sh -c 'sleep 60 & sleep 60' &) ; for i in 1 2 3; do (true &) ; done; sleep 0.2"
process = NodeProcess(["sh", "-c", script], os.environ, Path("/"), keep_tail=True)
while process.return_code is None:
    time.sleep(0.02)
left = len(descendants(os.getpid()))
process.terminate(0)
print(left, descendants(os.getpid()), process.return_code)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no zombie")
"""


def test_a_detached_process_ends_with_its_job() -> None:
    done = subprocess.run([sys.executable, "-c", RUNS], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:2] == ["4 [] 0", "no zombie"]
