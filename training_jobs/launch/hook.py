"""The module `gpuyard_hook` of users' scripts: stop in time, report progress, leave so that the run is resumed.

Every call is harmless outside gpuyard: a script that uses it runs under plain torchrun, or alone, as it is.
It imports torch only where the script already did.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

DONE = 0
BAD_CONFIG = 64
FABRIC = 69
RESUMABLE = 75

_EXIT_WATCHDOG_S = 10.0
_state: dict[str, bool] = {}
_metrics: dict[str, Any] = {}


def stop_requested() -> bool:
    """Whether to save and leave now. All ranks get the same answer, so all of them must ask at the same step."""
    asked = stop_asked()
    dist = _process_group()
    if dist is None or "GPUYARD_STOP_FILE" not in os.environ:
        return asked
    torch = sys.modules["torch"]
    on_gpu = "nccl" in str(dist.get_backend())
    vote = torch.tensor([float(asked)], device=torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu")
    dist.all_reduce(vote, op=dist.ReduceOp.MAX)
    return bool(vote.item() > 0)


def stop_asked() -> bool:
    """Whether this node was told to stop: one rank's view, for a script that votes in a reduction of its own."""
    stop_file = os.environ.get("GPUYARD_STOP_FILE")
    if stop_file is None:
        return False
    if not _state.get("listens"):
        _state["listens"] = True
        Path(stop_file).with_name("listens").touch()  # who never asks gets SIGTERM at once, not at the end of the grace
    return os.path.exists(stop_file)


def seconds_left() -> float | None:
    """Seconds until this node's workers are ended, as the notice gave them; None while no stop was asked."""
    try:
        said = Path(os.environ["GPUYARD_STOP_FILE"]).read_text(encoding="ascii")
        return max(0.0, float(said) - time.monotonic())  # of this machine since its start: nobody sets that clock
    except (KeyError, FileNotFoundError):
        return None
    except ValueError:  # asked for this very moment
        return float(os.environ.get("GPUYARD_GRACE_S", "30"))


def report(step: int, **metrics: float | None) -> None:
    """Tell how far the run is; `steps=` is the total. Any rank may call it, rank 0 is heard.

    A metric keeps its last value until it is reported again. `save_s=`, the seconds that a save takes, lets launch say
    whether a preemption's notice is long enough for one.
    """
    path = os.environ.get("GPUYARD_REPORT_FILE")
    if path is None or os.environ.get("RANK", "0") != "0":
        return
    _metrics.update({name: _plain(value) for name, value in metrics.items()})
    told = {"step": int(step), "metrics": dict(_metrics), "at": time.time(), "restart": os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")}
    beside = f"{path}.{os.getpid()}"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.replace(beside, path)
    except OSError as error:  # a full node disk must not end a training for want of a progress line
        print(f"gpuyard: progress is not reported: {error}", file=sys.stderr, flush=True)


def last_report() -> tuple[int, dict[str, Any]] | None:
    """The step and metrics last reported on this node, before a restart too; None when there are none."""
    path = os.environ.get("GPUYARD_REPORT_FILE")
    if path is None:
        return None
    try:
        told = json.loads(Path(path).read_bytes())
        return int(told["step"]), dict(told["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def leave_resumable() -> NoReturn:
    """End this process so that the run is resumed later; all ranks call it, after they saved."""
    dist = _process_group()
    if dist is not None:
        dist.barrier()  # a gloo rank that leaves before the others can hang them
    sys.stdout.flush()
    sys.stderr.flush()
    watchdog = threading.Timer(_EXIT_WATCHDOG_S, os._exit, [RESUMABLE])  # teardown of a backend may hang
    watchdog.daemon = True
    watchdog.start()
    raise SystemExit(RESUMABLE)


def _process_group() -> Any:
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _plain(value: Any) -> float | int | str | None:
    number = value.item() if hasattr(value, "item") else value
    if number is None or isinstance(number, int):
        return None if number is None else int(number)
    if isinstance(number, float):
        return number if math.isfinite(number) else None  # JSON has no NaN
    return str(number)
