"""Run the SDK's dynamic provider for an engine that lacks its Python plug-ins, and exit when the engine exits."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # started with -P, so no folder of the checkout is on sys.path
from tools.engine.orphan import exit_with_parent

sys.path.append(sys.path.pop(0))  # moved to the end, so that this checkout hides no module of the program

if __name__ == "__main__":
    exit_with_parent()
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)
