"""The NCCL settings of Google's gIB plugin, read from its script."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuyard.training_jobs.launch.gib import gib_settings


def script(folder: Path, text: str) -> Path:
    file = folder / "set nccl env.sh"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_settings_come_from_the_plugins_script(tmp_path: Path) -> None:
    text = "echo hello\nexport NCCL_IB_TC=52\nexport NCCL_TUNER_CONFIG_PATH='/usr/local/gib/a b'\nexport OTHER=1\nNCCL_LOCAL=1\n"
    found = gib_settings("NET/gIB", script(tmp_path, text))
    assert found == {"NCCL_NET": "gIB", "NCCL_IB_TC": "52", "NCCL_TUNER_CONFIG_PATH": "/usr/local/gib/a b"}


@pytest.mark.parametrize("transport", [None, "NET/FasTrak", "NET/OFI"])
def test_other_transports_and_images_without_the_plugin_get_no_settings(tmp_path: Path, transport: str | None) -> None:
    assert gib_settings(transport, script(tmp_path, "export NCCL_IB_TC=52\n")) == {}
    assert gib_settings("NET/gIB", tmp_path / "missing.sh") == {}


def test_a_broken_script_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert gib_settings("NET/gIB", script(tmp_path, "exit 3\n")) == {}
    assert "cannot read the settings of Google's NCCL plugin" in capfd.readouterr().err
