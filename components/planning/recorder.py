"""A strict recording monitor: runs a Pulumi program without an engine and keeps everything it asked of one.

In a preview it knows what a real preview knows when nothing exists yet: no ids, no computed outputs, no answers to look-ups.
It rests on the mock classes that the SDK gives for tests.
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
from pulumi.runtime import mocks, rpc, set_all_config, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_pulumi_func

from .encrypted_config import unknown_config
from .recording import Recording, properties
from .sdk_arguments import wrong_arguments

__all__ = ["Answers", "Recording", "properties", "record"]

_STACK = "pulumi:pulumi:Stack"
_REFERENCE = "pulumi:pulumi:StackReference"
_PATIENCE_S = 1.0
_DYNAMIC = "pulumi-python:"  # these providers have no preview: the engine knows no output of theirs before the first `up`


class Answers(mocks.Mocks):
    """What providers answer. These know nothing, as before the first `up`."""

    preview = True

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """The id and the outputs of a resource."""
        return "", {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The result of a look-up; never asked in a preview."""
        raise LookupError(f"no answer to {args.token}")


class _Monitor(mocks.MockMonitor):
    def __init__(self, answers: Answers, recording: Recording) -> None:
        super().__init__(answers)
        self._recording = recording
        self._preview = answers.preview
        self._urns: set[str] = set()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine makes it: the types of all parents but the stack's come first (the mock keeps one)."""
        above = parent.split("::")[2] if parent else _STACK
        kind = type_ if above == _STACK else f"{above}${type_}"
        return f"urn:pulumi:{settings.get_stack()}::{settings.get_project()}::{kind}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 the name in the protocol
        if request.type != _STACK:
            self._check_references(request)
            self._tell_unseen(request)
        answer: Any = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if answer.urn in self._urns:
            self._recording.problems.append(f"two resources {_short(answer.urn)}: give one another name, or another parent")
        self._urns.add(answer.urn)
        if request.type != _STACK:
            self._recording.resources[answer.urn] = request
        wrong = wrong_arguments(request.type, properties(request.object)) if request.custom else []
        self._recording.problems += [f"{request.type} {request.name}: {problem}" for problem in wrong]
        if wrong:
            answer.object.Clear()  # the SDK would fail on them
        elif self._preview and request.custom and not request.type.startswith(_DYNAMIC):
            answer.object.CopyFrom(request.object)  # a provider echoes what it was given; what it computes is missing: unknown
        _forget_lists_that_come_back_as_maps(answer.object)
        return answer

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        answer: Any = super().ReadResource(request)  # type: ignore[no-untyped-call]
        self._urns.add(answer.urn)
        if request.type != _REFERENCE:
            self._recording.reads.append(f"{request.type} {request.name}")
            return answer
        self._recording.references.append(request.id)
        outputs: dict[str, Any] = {"outputs": rpc.UNKNOWN, "secretOutputNames": rpc.UNKNOWN}
        if not self._preview:
            outputs = {"outputs": {}, "secretOutputNames": []}
        answer.properties.update(outputs)
        return answer

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        own = request.tok.startswith("pulumi:")  # the engine's own: what the SDK asks of its registered resources
        if not own:
            self._recording.lookups.append(request.tok)
        if self._preview and not own:
            return resource_pb2.ResourceInvokeResponse(unknown=True)
        return super().Invoke(request)  # type: ignore[no-untyped-call]

    def Call(self, request: Any) -> Any:  # noqa: N802
        self._recording.lookups.append(request.tok)
        raise LookupError(f"{request.tok}: a method of a remote component cannot be called without an engine")

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if request.urn not in self._urns:
            self._recording.problems.append(f"outputs of {_short(request.urn)}, which is not registered")
        self._recording.component_outputs[request.urn] = properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]

    def RegisterStackTransform(self, request: Any) -> Any:  # noqa: N802
        self._recording.warnings.append("a transform of the stack is not run here: what it changes is not in the plan")
        return super().RegisterStackTransform(request)  # type: ignore[no-untyped-call]

    def _tell_unseen(self, request: Any) -> None:
        """What an engine would do with a resource that nobody does here."""
        if request.remote:
            self._recording.lookups.append(f"remote component {request.type} {request.name}")
        if request.transforms:
            self._recording.warnings.append(
                f"{request.type} {request.name}: its transforms are not run here: what they change is not in the plan"
            )

    def _check_references(self, request: Any) -> None:
        """A URN that nothing has: the engine would fail, or quietly lose the order."""
        named = {"parent": [request.parent], "depends_on": request.dependencies, "deleted_with": [request.deletedWith]}
        providers = [request.provider, *request.providers.values()]
        named["provider"] = [reference.rpartition("::")[0] for reference in providers if reference]
        for word, urns in named.items():
            for urn in urns:
                if urn and urn not in self._urns:
                    self._recording.problems.append(f"{request.type} {request.name}: {word} is {_short(urn)}, which is not registered")


def _forget_lists_that_come_back_as_maps(properties: Any) -> None:
    """Azure takes a list of identities and answers with a map of them: echoed as it was given, the SDK could not read it."""
    identity = properties.fields.get("identity")
    if identity is not None:
        identity.struct_value.fields.pop("userAssignedIdentities", None)


def _short(urn: str) -> str:
    """Type and name of a URN: what people look for."""
    parts = urn.split("::")
    return f"{parts[2].rpartition('$')[2]} {parts[-1]}" if len(parts) > 3 else repr(urn)


class _Warnings(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def record(
    program: Callable[[], Any],
    answers: Answers | None = None,
    *,
    project: str,
    stack: str,
    config: Mapping[str, str] | None = None,
    secret: Collection[str] = (),
    encrypted: Collection[str] = (),
    root: Path,
) -> Recording:
    """Run a program and return what it registered. What it raises passes through, as a `pulumi.RunError` where there is a better word.

    `config` is key -> text as Pulumi hands it, `secret` its secret keys, `encrypted` those whose value nobody here knows.
    `root` is the folder of the program's Pulumi.yaml.
    """
    recording = Recording()

    def inside() -> None:
        logger = logging.Logger("recording")
        logger.addHandler(_Warnings(recording.warnings))
        told = answers or Answers()
        monitor = _Monitor(told, recording)
        mocks.set_mocks(told, project=project, stack=stack, preview=told.preview, monitor=monitor, logger=logger)
        settings.SETTINGS.root_directory = str(root)
        set_all_config(dict(config or {}), [*secret, *encrypted])
        with unknown_config(encrypted):
            _run(program, recording)

    try:
        with _uncollected():
            contextvars.Context().run(_in_a_loop, inside)
    except (AssertionError, AttributeError, TypeError) as error:
        if not recording.lookups or not any(
            frame.name == "get" and "pulumi" in frame.filename for frame in traceback.extract_tb(error.__traceback__)
        ):
            raise
        told = f"look-up {recording.lookups[-1]} has no answer without an account: use its `_output` form, whose result may be unknown"
        raise pulumi.RunError(told) from None
    return recording


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's cyclic collector: a program keeps nearly all it makes to its end (of 200 pools 356 MiB instead of 337), and the
    collector would walk over that again and again, for half of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _in_a_loop(inside: Callable[[], None]) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    theirs: list[asyncio.AbstractEventLoop] = []  # the mock monitor opens one in each thread and leaves it

    def loop_of_thread() -> None:
        theirs.append(asyncio.new_event_loop())
        asyncio.set_event_loop(theirs[-1])

    loop.set_default_executor(ThreadPoolExecutor(2, initializer=loop_of_thread))
    try:
        inside()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        for each in (loop, *theirs):
            each.close()
        asyncio.set_event_loop(None)


def _run(program: Callable[[], Any], recording: Recording) -> None:
    async def body() -> None:
        stack: Any = settings.get_root_resource()
        stack._async_program_registration_closed = False  # the mocks close it before the program has begun
        program()
        entry = stack._take_async_program()  # what the program gave to `pulumi.run`
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
        loop.run_until_complete(_forget_the_rest())


async def _forget_the_rest() -> None:
    """End what a program that failed left waiting: the SDK keeps such tasks for the whole process, and the next run would meet them."""
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_PATIENCE_S)  # some do not let themselves be cancelled
    for task in (*left, *settings.SETTINGS.outputs):
        if task.done() and not task.cancelled():
            task.exception()  # seen: or Python prints it when the task goes
    settings.SETTINGS.outputs.clear()
