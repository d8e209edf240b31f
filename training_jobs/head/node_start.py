"""Starts one node of a Slurm job: makes a working folder and runs gpuyard's bootstrap in it. The head passes this text to the nodes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

bootstrap = os.environ.pop("GPUYARD_BOOTSTRAP")
os.environ.pop("GPUYARD_NODE_START", None)
work = tempfile.mkdtemp(prefix="gpuyard-")
process: subprocess.Popen[bytes] | None = None


def forward(number: int, _: object) -> None:
    """Pass a signal on, so that launch can save. launch may get it twice, which does no harm."""
    if process is not None:
        process.send_signal(number)


signal.signal(signal.SIGTERM, forward)
try:
    process = subprocess.Popen([sys.executable, "-u", "-c", bootstrap], env={**os.environ, "GPUYARD_WORKDIR": work}, cwd=work)
    code = process.wait()
finally:
    shutil.rmtree(work, ignore_errors=True)
sys.exit(code if code >= 0 else 128 - code)
