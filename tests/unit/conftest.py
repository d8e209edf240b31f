"""A recording monitor: runs a Pulumi program without an engine and keeps everything it asked of one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc, set_all_config, settings
from pulumi.runtime.stack import run_pulumi_func


@dataclass
class Recording:
    """What a program registered: by resource name and type, with options; the components' and the stack's outputs."""

    resources: dict[str, Any] = field(default_factory=dict)  # urn -> request
    component_outputs: dict[str, Any] = field(default_factory=dict)  # urn -> outputs
    exports: dict[str, Any] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # exports that are not known yet
    warnings: list[str] = field(default_factory=list)

    def one(self, kind: str, name: str) -> Any:
        """The only resource of a type and name."""
        found = [request for request in self.resources.values() if request.type == kind and request.name == name]
        assert len(found) == 1, f"{len(found)} resources {kind} {name}"
        return found[0]

    def inputs(self, kind: str, name: str) -> dict[str, Any]:
        """Its inputs, as they go over the wire."""
        return dict(rpc.deserialize_properties(self.one(kind, name).object, keep_unknowns=True))

    def outputs(self, kind: str) -> dict[str, Any]:
        """The outputs of the only component of a type."""
        found = [outputs for urn, outputs in self.component_outputs.items() if urn.split("::")[2].endswith(kind)]
        assert len(found) == 1, f"{len(found)} components {kind}"
        return dict(found[0])


class _Answers(mocks.Mocks):
    """Update: every resource is what was asked for. Preview: nothing is known, not even ids."""

    def __init__(self, preview: bool) -> None:
        self.preview = preview

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return ("", {}) if self.preview else (args.inputs.get("path", f"{args.name}-id"), args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"a component called {args.token}")


class _Monitor(mocks.MockMonitor):
    def __init__(self, answers: _Answers, recording: Recording) -> None:
        super().__init__(answers)
        self._recording = recording

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 the name in the protocol
        answer: Any = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            assert answer.urn not in self._recording.resources, f"two resources {answer.urn}"
            self._recording.resources[answer.urn] = request
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        outputs = rpc.deserialize_properties(request.outputs, keep_unknowns=True)
        self._recording.component_outputs[request.urn] = outputs
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class _Warnings(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


Record = Callable[..., Recording]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Run a program against the recording monitor, as an update or as a preview where nothing is known."""

    def run(
        program: Callable[[], Any], *, preview: bool = False, config: Mapping[str, str] | None = None, secret: tuple[str, ...] = ()
    ) -> Recording:
        recording = Recording()
        contextvars.Context().run(_inside, program, recording, preview, dict(config or {}), list(secret), tmp_path)
        return recording

    return run


def _inside(program: Callable[[], Any], recording: Recording, preview: bool, config: dict[str, str], secret: list[str], root: Path) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    theirs: list[asyncio.AbstractEventLoop] = []  # the mock monitor opens one in each thread and leaves it

    def loop_of_thread() -> None:
        theirs.append(asyncio.new_event_loop())
        asyncio.set_event_loop(theirs[-1])

    loop.set_default_executor(ThreadPoolExecutor(2, initializer=loop_of_thread))
    try:
        answers = _Answers(preview)
        monitor = _Monitor(answers, recording)
        logger = logging.Logger("recording")
        logger.addHandler(_Warnings(recording.warnings))
        mocks.set_mocks(answers, project="gpuyard", stack="local", preview=preview, monitor=monitor, logger=logger)
        settings.SETTINGS.root_directory = str(root)
        set_all_config(config, secret)

        async def body() -> None:
            program()
            stack: Any = settings.get_root_resource()
            for name, value in dict(stack.outputs).items():
                output = pulumi.Output.from_input(value)
                if await output.is_known():
                    recording.exports[name] = await output.future()
                else:
                    recording.unknown.add(name)

        loop.run_until_complete(run_pulumi_func(body))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        for each in (loop, *theirs):
            each.close()
        asyncio.set_event_loop(None)
