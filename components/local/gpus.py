"""Find this machine's NVIDIA GPUs with nvidia-smi."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Gpus", "find_gpus", "parse_listing", "short_model"]

_QUERY = ["--query-gpu=index,name", "--format=csv,noheader"]
_MODEL = re.compile(r"(?:[RG]TX )?(?:PRO )?[A-Z]{0,2}\d+[A-Za-z]*")


@dataclass(frozen=True)
class Gpus:
    """The models of the GPUs in the order of their indices. `problem`: the error if nvidia-smi failed."""

    models: tuple[str, ...] = ()
    problem: str | None = None


@functools.cache
def find_gpus() -> Gpus:
    """Run nvidia-smi, once per process. A machine without nvidia-smi has no GPUs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Gpus()
    try:
        answer = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=20, check=True)
        return Gpus(parse_listing(answer.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Gpus(problem=f"nvidia-smi failed, so no GPU is used: {error}")


def parse_listing(listing: str) -> tuple[str, ...]:
    """Return the GPU models in nvidia-smi's lines `index, name`, ordered by index. Raises ValueError for other lines."""
    rows = [line.split(", ", 1) for line in listing.splitlines() if line.strip()]
    models = {int(index): short_model(name) for index, name in rows}
    if sorted(models) != list(range(len(rows))):
        raise ValueError(f"nvidia-smi listed the GPU indices {sorted(models)}, expected {list(range(len(rows)))}")
    return tuple(models[index] for index in sorted(models))


def short_model(name: str) -> str:
    """Return the short name of a GPU model, which jobs use in `gpus`.

    >>> [short_model(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA RTX 6000 Ada Generation")]
    ['H100', 'A100', 'RTX-6000']
    """
    found = _MODEL.search(name)
    return (found.group() if found else name.strip()).replace(" ", "-")
