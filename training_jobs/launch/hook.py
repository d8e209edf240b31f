"""The module `gpuyard_hook` for training scripts: stop in time, report progress, keep checkpoints, exit as resumable.

Outside gpuyard every call does nothing, so the same script runs under plain torchrun or alone.
It uses torch only if the script has imported torch.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

DONE = 0
BAD_CONFIG = 64
FABRIC = 69
RESUMABLE = 75


__all__ = [
    "BAD_CONFIG",
    "DONE",
    "FABRIC",
    "RESUMABLE",
    "accelerate_run",
    "checkpoints",
    "last_report",
    "leave_resumable",
    "lightning_callback",
    "newest_checkpoint",
    "report",
    "save_checkpoints",
    "seconds_left",
    "stop_asked",
    "stop_requested",
    "trainer_callback",
]
_EXIT_WATCHDOG_S = 10.0
_state: dict[str, int] = {}  # "listens": this process has polled for a stop; "calls" of stop_requested
_metrics: dict[str, float | int | str | None] = {}


def stop_requested(every: int = 1) -> bool:
    """Return whether to save and exit now. The ranks vote and get the same answer, so all must call this at the same step.

    A vote makes the host wait for the device. With `every=N` only every Nth call votes; the other calls return False.
    """
    _state["calls"] = _state.get("calls", 0) + 1
    if _state["calls"] % every:
        return False
    local = stop_asked()
    dist = _process_group()
    if dist is None or "GPUYARD_STOP_FILE" not in os.environ:
        return local
    torch = sys.modules["torch"]
    on_gpu = "nccl" in str(dist.get_backend())
    vote = torch.tensor([float(local)], device=torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu")
    dist.all_reduce(vote, op=dist.ReduceOp.MAX)
    return bool(vote.item() > 0)


def stop_asked() -> bool:
    """Return whether this node has to stop. It is one rank's view, for scripts with an all-reduce of their own."""
    stop_file = os.environ.get("GPUYARD_STOP_FILE")
    if stop_file is None:
        return False
    if not _state.get("listens"):
        _state["listens"] = 1
        Path(stop_file).with_name("listens").touch()  # without this file the workers get SIGTERM at once, not near the deadline
    return os.path.exists(stop_file)


def seconds_left() -> float | None:
    """Return the seconds until this node's workers are killed; None while no stop is requested."""
    try:
        deadline = Path(os.environ["GPUYARD_STOP_FILE"]).read_text(encoding="ascii")
        return max(0.0, float(deadline) - time.monotonic())  # all processes of a machine share the monotonic clock
    except (KeyError, FileNotFoundError):
        return None
    except ValueError:  # an empty file is a stop whose deadline could not be written
        return float(os.environ.get("GPUYARD_GRACE_S", "30"))


def report(step: int, **metrics: float | None) -> None:
    """Report the run's step and metrics; `steps=` is the run's total number of steps. All ranks may call this, but only rank 0's report
    counts.

    A metric keeps its value until it is reported again. `save_s=` is the duration of a save in seconds. launch then prints whether a
    preemption notice is long enough for a save.
    """
    path = os.environ.get("GPUYARD_REPORT_FILE")
    if path is None or os.environ.get("RANK", "0") != "0":
        return
    temporary = f"{path}.{os.getpid()}"
    try:
        reported = {**_metrics, **{name: _to_json(value) for name, value in metrics.items()}}
        content = {
            "step": int(step),
            "metrics": reported,
            "at": time.time(),
            "restart": os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
        }
        Path(temporary).write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, path)
        _metrics.update(reported)
    except (OSError, ValueError, TypeError, OverflowError, RuntimeError) as error:  # must not end a training
        print(f"gpuyard: cannot report progress: {error}", file=sys.stderr, flush=True)


def last_report() -> tuple[int, dict[str, Any]] | None:
    """Return the last reported step and metrics, even if they were reported before a restart. None if nothing was reported."""
    path = os.environ.get("GPUYARD_REPORT_FILE")
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_bytes())
        return int(content["step"]), dict(content["metrics"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checkpoints() -> Path:
    """Return a local folder for checkpoints. The first call restores the last save: every node gets the same files.

    All processes call this. New files are lost unless `save_checkpoints` uploads them. Outside gpuyard the folder is ./checkpoints,
    and nothing is restored.
    """
    folder = _checkpoint_folder()
    path = folder.path if folder else Path("checkpoints")
    path.mkdir(parents=True, exist_ok=True)
    return path


def newest_checkpoint(pattern: str) -> str | None:
    """Return the path of the newest checkpoint: it matches `pattern` and ends in the largest number. None if nothing matches."""
    numbered = [(re.findall(r"\d+", path.name), path) for path in checkpoints().glob(pattern) if not path.name.startswith(".")]
    found = max(((int(numbers[-1]), str(path)) for numbers, path in numbered if numbers), default=None)
    return found[1] if found else None


def trainer_callback() -> Any:
    """Return a callback for transformers.Trainer: it reports, saves on a stop, and uploads `output_dir=checkpoints()` after each save."""
    from .framework_callbacks import trainer_callback as made

    return made(sys.modules[__name__])


def lightning_callback(every: int) -> Any:
    """Return a callback for Lightning's Trainer: it reports, and saves every `every` steps and on a stop."""
    from .framework_callbacks import lightning_callback as made

    return made(sys.modules[__name__], every)


def accelerate_run(accelerator: Any, every: int) -> Any:
    """Load the newest save into a prepared Accelerator. Call `step_done()` of the result after each step; its `step` counts them."""
    from .framework_callbacks import AccelerateRun

    return AccelerateRun(sys.modules[__name__], accelerator, every)


def save_checkpoints(leave: bool = False) -> bool:
    """Upload the folder of `checkpoints` below GPUYARD_CHECKPOINT_URL: all of its files or none. All processes call this.

    The upload has the files of all nodes. If several nodes wrote a file, the file of the lowest node is used. If storage fails, print a
    message and return False; the last save stays intact. With `leave`, call `leave_resumable` afterwards.
    """
    folder = _checkpoint_folder()
    saved = _save(folder) if folder else True
    if leave:
        leave_resumable()
    return saved


def leave_resumable() -> NoReturn:
    """Exit with code 75 so that the run is resumed later. All ranks call this after they have saved."""
    dist = _process_group()
    if dist is not None:
        dist.barrier()  # a gloo rank that exits before the others can hang them
    sys.stdout.flush()
    sys.stderr.flush()
    watchdog = threading.Timer(_EXIT_WATCHDOG_S, os._exit, [RESUMABLE])  # the teardown of a backend may hang
    watchdog.daemon = True
    watchdog.start()
    raise SystemExit(RESUMABLE)


def _checkpoint_folder() -> Any:
    if "GPUYARD_CHECKPOINT_URL" not in os.environ:
        return None
    from .checkpoint_folder import current

    return current()


def _save(folder: Any) -> bool:
    from .checkpoint_folder import SupersededError

    try:
        return bool(folder.save())
    except SupersededError as error:
        print(f"gpuyard: {error}", flush=True)
        raise SystemExit(RESUMABLE) from None


def _process_group() -> Any:  # a module: torch is not imported here
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _to_json(value: Any) -> float | int | str | None:
    number = value.item() if hasattr(value, "item") else value
    if number is None or isinstance(number, int):
        return None if number is None else int(number)
    if isinstance(number, float):
        return number if math.isfinite(number) else None  # JSON has no NaN
    return str(number)
