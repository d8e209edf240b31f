"""Secrets are read from private files only."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuyard.training_jobs.launch import secrets
from gpuyard.training_jobs.launch.node_exit import NodeExitError


def test_a_secret_file_must_be_private(tmp_path: Path) -> None:
    private, open_to_all = tmp_path / "with space", tmp_path / "open"
    for path, mode in ((private, 0o600), (open_to_all, 0o640)):
        path.write_text("value\n")
        path.chmod(mode)
    assert secrets.resolve({"A": f"file:{private}"}) == {"A": "value"}
    with pytest.raises(NodeExitError) as refused:
        secrets.resolve({"B": f"file:{open_to_all}", "C": "vault:x", "D": f"file:{tmp_path}/none"})
    text = str(refused.value)
    assert refused.value.code == 64
    assert "secrets.B" in text
    assert "0640" in text
    assert "secrets.C: unknown scheme, got 'vault', allowed: file" in text
    assert "secrets.D" in text
    assert "value" not in text
