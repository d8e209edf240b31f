"""The copy of a node's output in the run's folder: complete and in order, and never in the way of the job."""

from __future__ import annotations

import threading

from gpuyard.training_jobs.launch import log_copy
from gpuyard.training_jobs.launch.log_copy import LogCopy


class Bucket:
    """Objects in memory. Writes fail while `down`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.failed = threading.Event()

    def write(self, url: str, data: bytes) -> None:
        if self.down:
            self.failed.set()
            raise RuntimeError("EndpointConnectionError")
        self.objects[url] = data

    @property
    def text(self) -> bytes:
        """The log as a reader sees it."""
        return b"".join(data for _, data in sorted(self.objects.items()))


def test_every_line_arrives_once_and_in_order_also_after_an_outage() -> None:
    bucket = Bucket()
    bucket.down = True
    copy = LogCopy("s3://b/logs/node-0", bucket.write, interval_s=0.01)
    lines = [b"2026-12-01T10:00:00Z line %d\n" % number for number in range(200)]
    for line in lines[:100]:
        copy.add(line)
    assert bucket.failed.wait(10)
    bucket.down = False
    for line in lines[100:]:
        copy.add(line)
    copy.close()
    assert bucket.text == b"".join(lines)


def test_large_output_becomes_parts_and_an_endless_outage_costs_only_memory_within_a_limit(monkeypatch: object) -> None:
    bucket = Bucket()
    copy = LogCopy("s3://b/logs/node-0", bucket.write, interval_s=60)
    block = b"x" * (256 * 1024 - 1) + b"\n"
    for _ in range(100):
        copy.add(block)
    copy.close()
    assert max(map(len, bucket.objects.values())) <= log_copy._PART_BYTES
    assert len(bucket.text) == log_copy._MOST_WAITING
