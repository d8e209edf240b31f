"""Where memory goes when a GPU is full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gpuyard.training_jobs.train.metrics import Output
from gpuyard.training_jobs.train.profiling import MemorySnapshot


def test_a_full_gpu_leaves_a_snapshot_of_its_allocations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded: list[Any] = []
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", lambda *_, **more: recorded.append(more))
    monkeypatch.setattr(torch.cuda.memory, "_dump_snapshot", lambda path: Path(path).write_bytes(b"allocations"))
    with pytest.raises(torch.OutOfMemoryError), MemorySnapshot(True, Output(tmp_path.as_uri(), True).write, 3):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert (tmp_path / "memory-3.pickle").read_bytes() == b"allocations"
    assert "open memory-3.pickle" in capsys.readouterr().err
    with pytest.raises(ValueError, match="other"), MemorySnapshot(True, Output(tmp_path.as_uri(), True).write, 4):
        raise ValueError("other")
    assert not (tmp_path / "memory-4.pickle").exists()
    assert recorded == [{"max_entries": 100_000}, {"enabled": None}] * 2
