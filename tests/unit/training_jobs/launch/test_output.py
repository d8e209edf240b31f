"""Output with few newlines: progress bars, endless lines, much of it, a reader that fails, and bounded memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuyard.training_jobs.launch.output import LINE_LIMIT, LineSplitter, OutputPump
from gpuyard.training_jobs.launch.processes import NodeProcess
from tests.helpers.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parents[4]


def split(blocks: Sequence[bytes]) -> list[bytes]:
    splitter = LineSplitter()
    return [line for block in blocks for line in splitter.feed(block)] + splitter.end()


def piped(*blocks: bytes) -> list[bytes]:
    """Return the lines that a pump passes on, when each block is a write of its own."""
    lines: list[bytes] = []
    read_end, write_end = os.pipe()
    pump = OutputPump(read_end, lines.extend)
    for block in blocks:
        os.write(write_end, block)
    pump.drain()
    os.close(write_end)
    return lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r\r\n", [b"a", b"b"]),
        (b"\r 1%\r 2%\r 3%\ndone\n", [b" 1%", b" 2%", b" 3%", b"done"]),
        (b"1%\r2%\r", [b"1%", b"2%"]),
        (b"x" * (2 * LINE_LIMIT + 1), [b"x" * LINE_LIMIT, b"x" * LINE_LIMIT, b"x"]),
        (b"x" * LINE_LIMIT + b"\ny", [b"x" * LINE_LIMIT, b"y"]),
        (b"x" * (LINE_LIMIT - 1) + "é\n".encode(), [b"x" * (LINE_LIMIT - 1), "é".encode()]),
        (b"\x80" * (LINE_LIMIT + 1), [b"\x80" * (LINE_LIMIT - 4), b"\x80" * 5]),
    ],
)
def test_lines_end_at_newlines_and_carriage_returns_and_are_cut(text: bytes, lines: list[bytes]) -> None:
    assert split([text]) == lines
    step = 1 if len(text) < 100 else 9973
    assert split([text[start : start + step] for start in range(0, len(text), step)]) == lines


@settings(max_examples=25)
@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\xc3\xa9", b"x" * (LINE_LIMIT - 1)]), max_size=9), st.integers(1, 7))
def test_lines_do_not_depend_on_the_blocks(parts: list[bytes], size: int) -> None:
    text = b"".join(parts)
    step = size * (1 if len(text) < 100 else 9973)
    blocks = [text[start : start + step] for start in range(0, len(text), step)]
    assert split(blocks) == split([text])
    assert b"".join(split(blocks)) == re.sub(rb"[\r\n]", b"", text)


def test_the_newest_state_of_a_progress_bar_is_passed_on_while_it_stands() -> None:
    lines: list[bytes] = []
    read_end, write_end = os.pipe()
    pump = OutputPump(read_end, lines.extend)
    os.write(write_end, b"begins\r 10%")
    wait_for(lambda: lines == [b"begins", b" 10%"])
    os.write(write_end, b"\r 20%")
    wait_for(lambda: lines[2:] == [b" 20%"])
    os.write(write_end, b"\nno bar, no end")
    pump.drain()
    os.close(write_end)
    assert lines[3:] == [b"no bar, no end"]


def test_a_log_that_cannot_be_written_does_not_block_the_job() -> None:
    def fail(lines: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    read_end, write_end = os.pipe()
    pump = OutputPump(read_end, fail)
    for _ in range(40):
        os.write(write_end, b"x" * 65536)  # more than a pipe holds
    os.close(write_end)
    pump.drain()


@pytest.mark.parametrize("end", ["\\n", "\\r", ""])
def test_all_output_of_a_process_arrives_before_its_end_is_reported(end: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    program = f"import os\nfor _ in range(30): os.write(1, b'x' * 100_000 + b'{end}')\nprint('result')"
    process = NodeProcess([sys.executable, "-c", program], os.environ, tmp_path, keep_tail=True)
    wait_for(lambda: process.return_code is not None)
    process.terminate(0)
    out = capfd.readouterr().out
    assert out.count("x") == 3_000_000
    assert out.splitlines()[-1].endswith("result")
    assert process.tail()[-1].endswith("result")
    assert sum(map(len, process.tail())) < 200_000  # a node's result document stays small


COPIES = """
import os, resource, sys, threading
from gpuyard.training_jobs.launch.output import OutputPump
total = 0
def emit(lines):
    global total
    total += sum(map(len, lines))
read_end, write_end = os.pipe()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pump = OutputPump(read_end, emit)
for _ in range(48):
    os.write(write_end, b"x" * 2**20)
os.close(write_end)
pump.drain()
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_an_endless_line_needs_no_memory() -> None:
    done = subprocess.run([sys.executable, "-c", COPIES], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
    total, grown_kib = map(int, done.stdout.split())
    assert total == 48 * 2**20
    assert grown_kib < 10_000
