"""Logs of any size are read with bounded memory: an endless line, a sparse file, and a file of the run history in parts."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.azureml import logs
from gpuyard.training_jobs.backends.azureml.logs import LogReader as AzureLogReader
from gpuyard.training_jobs.backends.local.node_log import NodeLog

_STAMP = b"2026-11-30T00:00:00.000Z "


def _peak(act: Callable[[], object]) -> int:
    """Return the most bytes that Python allocated during a call."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_endless_line_is_read_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "node-0.log"
    with log.open("wb") as file:
        file.write(_STAMP)
        file.truncate(32 * 2**20)  # sparse: zeros without a newline
    lines = NodeLog(log, 0).read_new()
    assert _peak(lambda: sum(1 for _ in lines)) < 2 * 2**20
    assert all(len(line.text) <= 2**16 + 64 for line in itertools.islice(NodeLog(log, 0).read_new(), 3))


def test_pieces_keep_the_time_of_their_line_over_several_reads(tmp_path: Path) -> None:
    log = tmp_path / "node-0.log"
    reader = NodeLog(log, 0)
    assert list(reader.read_new()) == []
    log.write_bytes(_STAMP + b"x" * 70_000)
    first = list(reader.read_new())
    with log.open("ab") as file:
        file.write(b"y\n" + _STAMP + b"next\nno time\n" + _STAMP + b"cut")
    rest = list(reader.read_new())
    assert [line.time for line in (*first, *rest)] == [first[0].time] * 3
    assert "".join(line.text for line in (first[0], rest[0])) == "x" * 70_000 + "y"
    assert [line.text for line in rest[1:]] == ["next"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), os.mkdir], ids=["FIFO", "link", "folder"])
def test_a_log_that_is_no_file_has_no_lines(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "node-0.log")
    assert list(NodeLog(tmp_path / "node-0.log", 0).read_new()) == []


def _history(content: bytes) -> tuple[AzureLogReader, list[int]]:
    """Return a reader of a log file with this content, and the offsets that it will have read."""
    offsets: list[int] = []

    def read_from(url: str, offset: int) -> bytes:
        offsets.append(offset)
        return content[offset : offset + logs.READ_BYTES]

    return AzureLogReader(lambda: {"logFiles": {"user_logs/std_log.txt": "url"}}, read_from, node=None, since=None), offsets


def test_a_log_of_the_run_history_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "READ_BYTES", 1000)
    content = b"".join(b"2026-11-30T00:00:00.000000Z line %d\n" % number for number in range(100))
    reader, offsets = _history(content)
    lines = list(reader.lines(False, lambda _: True, lambda: None))
    assert [line.text for line in lines] == [f"line {number}" for number in range(100)]
    assert offsets == list(range(0, len(content), 1000))


def test_an_endless_line_of_the_run_history_is_cut() -> None:
    content = b"z" * 200_000
    lines = list(_history(content)[0].lines(False, lambda _: True, lambda: None))
    assert max(len(line.text) for line in lines) <= 2**16 + 64
    assert sum(len(line.text) for line in lines) == len(content)


@pytest.mark.soak
def test_a_gibibyte_without_a_newline_stays_below_a_ceiling_of_memory(tmp_path: Path) -> None:
    """The process may not have more than 512 MiB of address space beyond what Python itself has at its start."""
    with (tmp_path / "node-0.log").open("wb") as file:
        file.write(_STAMP)
        file.truncate(2**30)
    code = (
        "import sys; from pathlib import Path; from gpuyard.training_jobs.backends.local.node_log import NodeLog\n"
        "print(sum(len(line.text) for line in NodeLog(Path(sys.argv[1]), 0).read_new()))"
    )
    limit = 2**29
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "node-0.log")], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip
    assert int(done.stdout) > 2**30 - 2**17, done.stderr
