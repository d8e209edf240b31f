"""Run a Pulumi program without an engine and record the requests that it would send to the engine.

The program sees the values of a first preview: no ids, no computed outputs, no results of provider functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import mocks, set_all_config, settings
from pulumi.runtime.stack import run_pulumi_func

from .encrypted_config import unknown_config
from .monitor import Answers, RecordingMonitor
from .recording import Recording, properties

__all__ = ["Answers", "Recording", "properties", "record"]

_CANCEL_S = 1.0


class _Warnings(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def record(
    program: Callable[[], object],
    answers: Answers | None = None,
    *,
    project: str,
    stack: str,
    config: Mapping[str, str] | None = None,
    secret: Collection[str] = (),
    encrypted: Collection[str] = (),
    root: Path,
) -> Recording:
    """Run a program and return what it registered.

    `config`: values by full key, as Pulumi passes them. `secret`: keys of secret values. `encrypted`: keys of encrypted values, which are
    unknown. `root`: the folder of the program's Pulumi.yaml. Raises the program's own exceptions, and pulumi.RunError if the program needs
    the result of a provider function.
    """
    recording = Recording()

    def inside() -> None:
        logger = logging.Logger("recording")
        logger.addHandler(_Warnings(recording.warnings))
        given = answers or Answers()
        monitor = RecordingMonitor(given, recording)
        mocks.set_mocks(given, project=project, stack=stack, preview=given.preview, monitor=monitor, logger=logger)
        settings.SETTINGS.root_directory = str(root)
        set_all_config(dict(config or {}), [*secret, *encrypted])
        with unknown_config(encrypted):
            _run(program, recording)

    try:
        with _garbage_collection_off():
            contextvars.Context().run(_with_event_loop, inside)
    except (AssertionError, AttributeError, TypeError) as error:
        if not recording.lookups or not any(
            frame.name == "get" and "pulumi" in frame.filename for frame in traceback.extract_tb(error.__traceback__)
        ):
            raise
        token = recording.lookups[-1]
        raise pulumi.RunError(
            f"a plan has no account, so the result of {token} is unknown; call the function's `_output` variant and use the Output"
        ) from None
    return recording


@contextlib.contextmanager
def _garbage_collection_off() -> Iterator[None]:
    """Turn off Python's cyclic garbage collector inside the context.

    The collector would take half of the time and free little, because a program keeps nearly all objects until it ends: 200 pools take 356
    MiB without the collector and 337 MiB with it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _with_event_loop(inside: Callable[[], None]) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    of_threads: list[asyncio.AbstractEventLoop] = []  # the mock monitor needs one in each thread and does not close it

    def loop_of_thread() -> None:
        of_threads.append(asyncio.new_event_loop())
        asyncio.set_event_loop(of_threads[-1])

    loop.set_default_executor(ThreadPoolExecutor(2, initializer=loop_of_thread))
    try:
        inside()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        for each in (loop, *of_threads):
            each.close()
        asyncio.set_event_loop(None)


def _run(program: Callable[[], object], recording: Recording) -> None:
    async def body() -> None:
        stack: Any = settings.get_root_resource()  # uses private attributes of the SDK's Stack
        stack._async_program_registration_closed = False  # the mocks close it before the program begins
        program()
        entry = stack._take_async_program()  # the function that the program passed to `pulumi.run`
        if entry is not None:
            stack._add_program_outputs(await entry())
        for name, value in dict(stack.outputs).items():
            output = pulumi.Output.from_input(value)
            if await output.is_known():
                recording.exports[name] = await output.future()
            else:
                recording.unknown.add(name)

    loop = asyncio.get_event_loop()
    try:
        loop.run_until_complete(run_pulumi_func(body))
    finally:
        loop.run_until_complete(_cancel_pending_tasks())


async def _cancel_pending_tasks() -> None:
    """Cancel the unfinished tasks of a failed program. The SDK keeps them in the process, and the next run would wait for them."""
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CANCEL_S)  # some tasks ignore the cancellation
    for task in (*left, *settings.SETTINGS.outputs):
        if task.done() and not task.cancelled():
            task.exception()  # read it, or Python prints it when the task is deleted
    settings.SETTINGS.outputs.clear()
