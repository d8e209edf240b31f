"""Run one Pulumi program for language_host.py, in a process of its own so that it cannot disturb the host or the next run."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # started with -P, so no folder of the checkout is on sys.path
from tools.engine.orphan import exit_with_parent

sys.path.append(sys.path.pop(0))  # moved to the end, so that this checkout hides no module of the program

__all__ = ["ALREADY_REPORTED", "main", "own_frames"]

ALREADY_REPORTED = 32  # as in language_host.py, which must start without importing this file


def own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the program's first frame on, without the frames that started it."""
    ours = {__file__, asyncio.__file__, runpy.__file__}
    skipped = trace
    while skipped and (skipped.tb_frame.f_code.co_filename in ours or not _is_program(skipped)):
        skipped = skipped.tb_next
    return skipped or trace


def _is_program(trace: TracebackType) -> bool:
    name = trace.tb_frame.f_code.co_filename
    return not name.startswith("<frozen") and not any(part in name for part in ("/asyncio/", "/pulumi/runtime/"))


def _run(request: dict[str, Any]) -> int:
    import pulumi
    from pulumi import runtime

    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    names = ("project", "stack", "organization", "root_directory", "monitor", "engine", "parallel", "dry_run")
    runtime.configure(runtime.Settings(**{name: request[name] for name in names}))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # else it logs the unfinished tasks of a failed resource
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=min(max(request["parallel"], 1) * 4, 256)))
    try:
        loop.run_until_complete(runtime.run_in_stack(lambda: _program(request["program"])))
    except pulumi.RunError as error:  # the program's own, clear message
        pulumi.log.error(str(error))
        return ALREADY_REPORTED
    except Exception as error:
        pulumi.log.error("".join(traceback.format_exception(type(error), error, own_frames(error.__traceback__))))
        return ALREADY_REPORTED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _program(path: str) -> None:
    runpy.run_path(path, run_name="__main__")


def main() -> int:
    """Run the program of the request in the environment."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _signal, _frame: os._exit(0))
    exit_with_parent()
    request = json.loads(os.environ.pop("GPUYARD_PULUMI_RUN"))
    os.chdir(request["pwd"])
    sys.argv = [request["program"], *request["args"]]
    return _run(request)


if __name__ == "__main__":
    sys.exit(main())
