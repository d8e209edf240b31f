"""How the time of `pulumi preview` grows with the number of local pools, against as many plain dynamic resources.

A pool is a component with a dynamic resource in it. The column `nested` has a bare component with a plain dynamic resource in it, and
so separates Pulumi's own cost from ours.

python benchmarks/preview_growth.py --max 100
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))
from tools.engine import bootstrap  # noqa: E402 after the path: this file is started as a script

PROJECT = """
name: preview-growth
runtime: {name: python, options: {toolchain: pip, virtualenv: VENV}}
main: program
""".replace("VENV", str(CHECKOUT / ".venv"))
PROGRAM = """
import os
from preview_growth_plain import Nested, Plain
from gpuyard.components.local import GpuPool, Network

count = int(os.environ["COUNT"])
if os.environ["KIND"] == "pools":
    network = Network("net")
    for index in range(count):
        GpuPool(f"pool-{index}", {"max_nodes": 2, "service": "local", "machine": "cpu"}, network=network)
else:
    for index in range(count):
        {"plain": Plain, "nested": Nested}[os.environ["KIND"]](f"plain-{index}")
"""
PLAIN = """
import pulumi
from pulumi import dynamic

class Provider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

class Plain(dynamic.Resource):
    def __init__(self, name, opts=None):
        super().__init__(Provider(), name, {"path": f"/yard/{name}", "content": "x" * 250}, opts)

class Nested(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("bench:index:Nested", name, {"path": f"/yard/{name}"})
        self.path = Plain(f"{name}-child", pulumi.ResourceOptions(parent=self)).urn
        self.register_outputs({"path": self.path})
"""
KINDS = ("plain", "nested", "pools")


def main() -> None:
    """Print a row of times and ratios per size, then the growth exponents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max", type=int, default=1000, help="largest number of pools: 1, 10, 100, ... up to this (default 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="previews of each size, the fastest counts (default 3)")
    arguments = parser.parse_args()
    sizes = [10**power for power in range(int(math.log10(arguments.max)) + 1)]
    with tempfile.TemporaryDirectory(prefix="preview-growth-") as folder:
        preview = _project(Path(folder))
        preview("pools", 1)  # the first preview of all is slower, whichever it is
        best: dict[tuple[str, int], float] = {}
        print(f"{'number':>6} {'plain s':>8} {'nested s':>8} {'pools s':>8} {'pools/plain':>12} {'pools/nested':>13}")
        for size in sizes:
            for _ in range(arguments.repeats):
                for kind in KINDS:  # in turns, so that other load on the machine affects both
                    best[kind, size] = min(best.get((kind, size), math.inf), preview(kind, size))
            plain, nested, pools = (best[kind, size] for kind in KINDS)
            print(f"{size:>6} {plain:>8.2f} {nested:>8.2f} {pools:>8.2f} {pools / plain:>12.2f} {pools / nested:>13.2f}", flush=True)
        for kind in KINDS:
            exponent = _exponent([best[kind, size] for size in sizes], sizes)
            print(
                f"growth exponent of {kind}: {exponent:.2f}" if exponent else f"{kind}: too few sizes, or too much noise, for an exponent"
            )


def _project(folder: Path) -> Callable[[str, int], float]:
    """Create a project in `folder`. Return a function that previews a number of resources of a kind and returns the seconds."""
    (folder / "Pulumi.yaml").write_text(PROJECT)
    (folder / "program").mkdir()
    (folder / "program" / "__main__.py").write_text(PROGRAM)
    (folder / "program" / "preview_growth_plain.py").write_text(PLAIN)
    (folder / "state").mkdir()
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
        "PATH": f"{bootstrap.ensure().folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(folder / "program")]),  # the dynamic provider imports Plain
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": f"file://{folder}/state",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    }

    def pulumi(*command: str, **more: str) -> None:
        done = subprocess.run(
            ["pulumi", *command, "--non-interactive"], cwd=folder, env={**env, **more}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"pulumi {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def preview(kind: str, count: int) -> float:
        began = time.monotonic()
        pulumi("preview", KIND=kind, COUNT=str(count))
        return time.monotonic() - began

    pulumi("stack", "init", "bench")
    return preview


def _exponent(seconds: list[float], sizes: list[int]) -> float | None:
    """Return the slope between the two largest sizes on log scales, after subtracting the time of the smallest preview."""
    if len(sizes) < 3 or seconds[-2] <= min(seconds[:-2]):
        return None
    fixed = min(seconds[:-2])
    return math.log((seconds[-1] - fixed) / (seconds[-2] - fixed)) / math.log(sizes[-1] / sizes[-2])


if __name__ == "__main__":
    main()
