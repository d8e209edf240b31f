"""What deterministic=on sets before the first use of a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from gpuyard.training_jobs.train.config import ConfigError, parse_config
from gpuyard.training_jobs.train.process_group import compute_deterministically


@pytest.fixture
def _restored() -> Iterator[None]:
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


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
