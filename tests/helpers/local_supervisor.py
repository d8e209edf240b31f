"""The supervisor of a local job whose nodes run the test's own program instead of the bootstrap.

Tests name this module in `spawn._SUPERVISOR`. The program lies beside the pool's directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gpuyard.training_jobs.backends import base
from gpuyard.training_jobs.backends.local import spawn, supervisor

if __name__ == "__main__":
    base.BOOTSTRAP = Path(sys.argv[1]).parent / "node_program.py"
    spawn._SUPERVISOR = "tests.helpers.local_supervisor"
    supervisor.main(*sys.argv[1:])
