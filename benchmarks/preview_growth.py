"""How `pulumi preview` grows with the number of local pools, against as many plain dynamic resources in the same run.

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
from preview_growth_plain import Plain
from components.local import GpuPool, Network

count = int(os.environ["COUNT"])
if os.environ["KIND"] == "pools":
    network = Network("net")
    for index in range(count):
        GpuPool(f"pool-{index}", {"max_nodes": 2, "service": "local", "machine": "cpu"}, network=network)
else:
    for index in range(count):
        Plain(f"plain-{index}")
"""
PLAIN = """
from pulumi import dynamic

class Provider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

class Plain(dynamic.Resource):
    def __init__(self, name):
        super().__init__(Provider(), name, {"path": f"/yard/{name}", "content": "x" * 250})
"""
KINDS = ("plain", "pools")


def main() -> None:
    """Print a row per size, the ratio in it, and both growth exponents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max", type=int, default=1000, help="largest number of pools: 1, 10, 100, ... up to this (default 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="previews of each size, the fastest counts (default 3)")
    arguments = parser.parse_args()
    sizes = [10**power for power in range(int(math.log10(arguments.max)) + 1)]
    with tempfile.TemporaryDirectory(prefix="preview-growth-") as folder:
        preview = _project(Path(folder))
        preview("pools", 1)  # warms caches: the first preview of all is slower, whichever it is
        best: dict[tuple[str, int], float] = {}
        print(f"{'pools':>6} {'plain s':>8} {'pools s':>8} {'ratio':>6}")
        for size in sizes:
            for _ in range(arguments.repeats):
                for kind in KINDS:  # in turns, so that what else the machine does hits both
                    best[kind, size] = min(best.get((kind, size), math.inf), preview(kind, size))
            plain, pools = best["plain", size], best["pools", size]
            print(f"{size:>6} {plain:>8.2f} {pools:>8.2f} {pools / plain:>6.2f}", flush=True)
        for kind in KINDS:
            exponent = _exponent([best[kind, size] for size in sizes], sizes)
            print(
                f"growth exponent of {kind}, above the time of 1: {exponent:.2f}" if exponent else f"{kind}: too few sizes for an exponent"
            )


def _project(folder: Path) -> Callable[[str, int], float]:
    """A project in `folder`; the result previews it with so many resources of a kind and returns the seconds that took."""
    (folder / "Pulumi.yaml").write_text(PROJECT)
    (folder / "program").mkdir()
    (folder / "program" / "__main__.py").write_text(PROGRAM)
    (folder / "program" / "preview_growth_plain.py").write_text(PLAIN)
    (folder / "state").mkdir()
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
        "PATH": f"{bootstrap.ensure().folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(folder / "program")]),  # the dynamic provider looks for Plain
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
    """The slope between the two largest sizes on log scales, without the fixed cost of a preview (that of size 1)."""
    if len(sizes) < 3 or seconds[-2] <= seconds[0]:
        return None
    return math.log((seconds[-1] - seconds[0]) / (seconds[-2] - seconds[0])) / math.log(sizes[-1] / sizes[-2])


if __name__ == "__main__":
    main()
