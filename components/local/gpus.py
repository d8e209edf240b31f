"""Finds this machine's GPUs; none is a fine answer."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass

_QUERY = ["--query-gpu=index,name", "--format=csv,noheader"]
_MODEL = re.compile(r"(?:[RG]TX )?(?:PRO )?[A-Z]{0,2}\d+[A-Za-z]*")


@dataclass(frozen=True)
class Gpus:
    """What was found: the model of each GPU in the order of its index, and what went wrong, if anything."""

    models: tuple[str, ...] = ()
    problem: str | None = None


@functools.cache
def find_gpus() -> Gpus:
    """Ask nvidia-smi, once per process; a machine without it has no GPUs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Gpus()
    try:
        answer = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=20, check=True)
        return Gpus(parse_listing(answer.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Gpus(problem=f"nvidia-smi failed, so no GPU is used: {error}")


def parse_listing(listing: str) -> tuple[str, ...]:
    """The models in nvidia-smi's `index, name` lines, by index. Raises ValueError on anything else."""
    rows = [line.split(", ", 1) for line in listing.splitlines() if line.strip()]
    models = {int(index): short_model(name) for index, name in rows}
    if sorted(models) != list(range(len(rows))):
        raise ValueError(f"expected indices from 0, got {sorted(models)}")
    return tuple(models[index] for index in sorted(models))


def short_model(name: str) -> str:
    """The short name jobs ask for.

    >>> [short_model(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA RTX 6000 Ada Generation")]
    ['H100', 'A100', 'RTX-6000']
    """
    found = _MODEL.search(name)
    return (found.group() if found else name.strip()).replace(" ", "-")
