"""What the trainer sets before the first use of a GPU: the memory allocator, and with deterministic=on the algorithms."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from gpuyard.training_jobs.train.config import ConfigError, parse_config
from gpuyard.training_jobs.train.process_group import compute_deterministically, join_process_group


@pytest.fixture
def _restored() -> Iterator[None]:
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("", "", "expandable_segments:True"),
        ("PYTORCH_ALLOC_CONF", "max_split_size_mb:512", "max_split_size_mb:512"),
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512", None),
    ],
)
def test_memory_segments_are_expandable_unless_the_user_set_the_allocator(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str | None
) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "RANK", "TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_DUMP_ON_TIMEOUT"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    if variable:
        monkeypatch.setenv(variable, value)
    join_process_group()
    dist.destroy_process_group()
    assert os.environ.get("PYTORCH_ALLOC_CONF") == wanted


@pytest.mark.usefixtures("_restored")
def test_a_deterministic_run_uses_only_algorithms_that_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_DETERMINISTIC"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    compute_deterministically()
    assert torch.are_deterministic_algorithms_enabled()
    assert (os.environ["CUBLAS_WORKSPACE_CONFIG"], os.environ["TORCHINDUCTOR_DETERMINISTIC"]) == (":4096:8", "1")


def test_kernels_chosen_by_measuring_are_not_deterministic() -> None:
    with pytest.raises(ConfigError, match="compile: got max, which is not deterministic; fix: compile=on"):
        parse_config(["deterministic=on", "compile=max"])
    assert parse_config(["deterministic=on"]).deterministic == "on"
