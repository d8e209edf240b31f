"""The language host: its responses, the program's interpreter, and its exit with the engine. tests/engine runs it with a real engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from tests.helpers.waiting import wait_for
from tools.engine import language_host
from tools.engine.peer import PROC_NET

HOST = Path(language_host.__file__)


@pytest.mark.parametrize(
    ("returncode", "error", "bail"),
    [
        (0, "", False),
        (language_host.ALREADY_REPORTED, "", True),
        (3, "the program exited with code 3", False),
        (-9, "the program was killed by signal 9", False),
    ],
)
def test_the_response_names_the_exit_of_the_program(returncode: int, error: str, bail: bool) -> None:
    assert language_host.verdict(returncode) == language_pb2.RunResponse(error=error, bail=bail)


def test_the_virtualenv_option_chooses_the_interpreter_if_it_exists(tmp_path: Path) -> None:
    assert language_host.interpreter({}, str(tmp_path)) == sys.executable
    assert language_host.interpreter({"virtualenv": ".venv"}, str(tmp_path)) == sys.executable
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert language_host.interpreter({"virtualenv": ".venv"}, str(tmp_path)) == str(python)
    assert language_host.interpreter({"virtualenv": str(tmp_path / ".venv")}, "/") == str(python)


@pytest.mark.parametrize(("entry", "path"), [("", "/p"), (".", "/p"), ("stacks", "/p/stacks"), ("run.py", "/p/run.py")])
def test_the_program_path(entry: str, path: str) -> None:
    assert language_host.program_path("/p", entry) == path


def test_the_child_gets_the_request_as_plain_data() -> None:
    info = language_pb2.ProgramInfo(root_directory="/r", program_directory="/r", entry_point="stacks")
    request = language_pb2.RunRequest(project="p", stack="s", pwd="/r/stacks", dryRun=True, parallel=4, monitor_address="m", info=info)
    assert language_host.request_for_child(request, "e") == {
        "project": "p", "stack": "s", "organization": "organization", "root_directory": "/r", "monitor": "m", "engine": "e",
        "parallel": 4, "dry_run": True, "pwd": "/r/stacks", "program": "/r/stacks", "args": [],
    }  # fmt: skip


def _start(argv: list[str]) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.fixture
def host() -> Iterator[tuple[subprocess.Popen[str], int]]:
    process, port = _start([sys.executable, "-P", str(HOST), "127.0.0.1:9"])
    yield process, port
    process.kill()
    process.communicate()


def test_the_host_serves_the_methods_for_a_program_on_disk(host: tuple[subprocess.Popen[str], int]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{host[1]}") as channel:
        stub = language_pb2_grpc.LanguageRuntimeStub(channel)
        assert (
            stub.Handshake(language_pb2.LanguageHandshakeRequest(engine_address="127.0.0.1:9")) == language_pb2.LanguageHandshakeResponse()
        )
        assert stub.GetPluginInfo(empty_pb2.Empty()).version.startswith("3.")
        assert stub.About(language_pb2.AboutRequest()).executable == sys.executable
        assert not stub.GetRequiredPackages(language_pb2.GetRequiredPackagesRequest()).packages
        assert not stub.GetRequiredPlugins(language_pb2.GetRequiredPluginsRequest()).plugins
        assert list(stub.InstallDependencies(language_pb2.InstallDependenciesRequest())) == []
        listed = stub.GetProgramDependencies(language_pb2.GetProgramDependenciesRequest()).dependencies
        assert "pulumi" in {dependency.name for dependency in listed}
        assert not stub.RuntimeOptionsPrompts(language_pb2.RuntimeOptionsRequest()).prompts
        stub.Cancel(empty_pb2.Empty())


@pytest.mark.skipif(not PROC_NET.exists(), reason="only Linux tells which process owns a connection")
def test_the_host_refuses_every_process_except_its_engine(host: tuple[subprocess.Popen[str], int]) -> None:
    program = (
        "import grpc, sys\n"
        "from google.protobuf import empty_pb2\n"
        "from pulumi.runtime.proto import language_pb2_grpc\n"
        "try:\n"
        f"    language_pb2_grpc.LanguageRuntimeStub(grpc.insecure_channel('127.0.0.1:{host[1]}')).GetPluginInfo(empty_pb2.Empty())\n"
        "except grpc.RpcError as error:\n"
        "    print(error.code().name, error.details())\n"
    )
    stranger = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert stranger.stdout == "PERMISSION_DENIED this language host answers its own engine only\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_host_exits_without_output_on_a_signal(host: tuple[subprocess.Popen[str], int], number: int) -> None:
    process, _port = host
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_host_exits_when_its_engine_is_killed() -> None:
    # `read` keeps the shell as its parent; a lone command would be exec'ed.
    shell = f'"{sys.executable}" -P "{HOST}" 127.0.0.1:9 & echo "$!" >&2; wait'
    parent = subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stderr.readline()))
    assert int(parent.stdout.readline()) > 0
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, limit_s=10)
    parent.stdout.close()
    parent.stderr.close()
