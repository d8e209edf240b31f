"""A Python language host for engines without one: serve LanguageRuntime and run the program in a child process.

Started by the engine as `pulumi-language-python [flags] <engine address>`; the first line on stdout is the port it serves on.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

sys.path.insert(0, str(Path(__file__).parents[2]))  # started with -P
from tools.engine.orphan import exit_with_parent
from tools.engine.peer import is_from_process

sys.path.append(sys.path.pop(0))  # moved to the end, so that this checkout hides no module of the program

__all__ = ["ALREADY_REPORTED", "MAX_MESSAGE", "LanguageHost", "interpreter", "main", "program_path", "request_for_child", "verdict"]

ALREADY_REPORTED = 32  # exit code of a program whose error is already in the engine's diagnostics
MAX_MESSAGE = 400 * 1024 * 1024  # the engine's own limit
_EXECUTOR = Path(__file__).with_name("run_program.py")


def interpreter(options: Mapping[str, Any], root: str) -> str:
    """Return the Python for the program: the project's `virtualenv` option if it exists, else the one that runs this host."""
    if named := options.get("virtualenv"):
        candidate = Path(root, str(named), "bin", "python")
        if candidate.exists():
            return str(candidate)
    return sys.executable


def program_path(directory: str, entry_point: str) -> str:
    """Return the entry point (a folder with `__main__.py`, or a file) inside the program's directory."""
    return str(Path(directory, entry_point)) if entry_point not in ("", ".") else directory


def request_for_child(request: language_pb2.RunRequest, engine: str) -> dict[str, Any]:
    """Return everything that the child needs to run the program of this request, as plain data."""
    return {
        "project": request.project,
        "stack": request.stack,
        "organization": request.organization or "organization",
        "root_directory": request.info.root_directory,
        "monitor": request.monitor_address,
        "engine": engine,
        "parallel": request.parallel,
        "dry_run": request.dryRun,
        "pwd": request.pwd,
        "program": program_path(request.info.program_directory, request.info.entry_point),
        "args": list(request.args),
    }


def verdict(returncode: int) -> language_pb2.RunResponse:
    """Return the response for a program that exited with this code."""
    if returncode == 0:
        return language_pb2.RunResponse()
    if returncode == ALREADY_REPORTED:
        return language_pb2.RunResponse(bail=True)
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"exited with code {returncode}"
    return language_pb2.RunResponse(error=f"the program {how}")


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The LanguageRuntime service. Calls that the engine never makes for a program on disk are not implemented."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Kill every program that still runs."""
        with self._lock:
            for child in self._children:
                child.kill()

    def Handshake(self, request: language_pb2.LanguageHandshakeRequest, context: Any) -> language_pb2.LanguageHandshakeResponse:  # noqa: N802
        """Receive the engine's address (newer engines)."""
        self.engine = request.engine_address or self.engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802
        """Return the version of the SDK, which defines the protocol."""
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def GetRequiredPackages(self, request: Any, context: Any) -> language_pb2.GetRequiredPackagesResponse:  # noqa: N802
        """Return nothing: providers are found when a resource needs them."""
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> language_pb2.GetRequiredPluginsResponse:  # noqa: N802
        """Return nothing, as GetRequiredPackages does. Older engines call this method instead."""
        return language_pb2.GetRequiredPluginsResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> language_pb2.RuntimeOptionsResponse:  # noqa: N802
        """Return no prompts for `pulumi new`."""
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[language_pb2.InstallDependenciesResponse]:  # noqa: N802
        """Do nothing, because `make` installs the program's packages into .venv."""
        return iter(())

    def About(self, request: Any, context: Any) -> language_pb2.AboutResponse:  # noqa: N802
        """Describe this host for `pulumi about`."""
        return language_pb2.AboutResponse(executable=sys.executable, version=platform.python_version())

    def GetProgramDependencies(self, request: Any, context: Any) -> language_pb2.GetProgramDependenciesResponse:  # noqa: N802
        """List the installed packages for `pulumi about`."""
        found = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
        listed = [language_pb2.DependencyInfo(name=name, version=version) for name, version in sorted(found.items())]
        return language_pb2.GetProgramDependenciesResponse(dependencies=listed)

    def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:  # noqa: N802
        """Stop the program. The engine finishes its current operations."""
        self.stop()
        return empty_pb2.Empty()

    def Run(self, request: language_pb2.RunRequest, context: Any) -> language_pb2.RunResponse:  # noqa: N802
        """Run the program to its end."""
        options = dict(request.info.options.items())
        env = {
            **os.environ,
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
            "GPUYARD_PULUMI_RUN": json.dumps(request_for_child(request, self.engine)),
        }
        # -P: this folder must not shadow the program's own modules.
        argv = [interpreter(options, request.info.root_directory), "-u", "-P", str(_EXECUTOR)]
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL)
        with self._lock:
            self._children.add(child)
        try:
            return verdict(child.wait())
        finally:
            with self._lock:
                self._children.discard(child)


class _OnlyFrom(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Accepts calls only from one process. Any other process could use Run to start programs in this environment."""

    def __init__(self, process: int) -> None:
        self.port = 0
        self._process = process

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the method's function by the check."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        kind = "unary_stream" if handler.response_streaming else "unary_unary"
        function = getattr(handler, kind)

        def checked(request: Any, context: Any) -> Any:
            if not is_from_process(context.peer(), self.port, self._process):
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "this language host answers its own engine only")
            return function(request, context)

        return handler._replace(**{kind: checked})


def main() -> None:
    """Serve the engine that started this process until it stops the process or exits."""
    only = _OnlyFrom(os.getppid())
    host = LanguageHost(engine=sys.argv[-1] if len(sys.argv) > 1 else "")

    def leave(_signal: int, _frame: FrameType | None) -> None:
        # No lock and no clean-up: the children exit by themselves when their parent exits.
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    exit_with_parent(host.stop)
    limits = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=limits, interceptors=[only])
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    only.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(only.port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
