"""Clouds are found by name and import no SDK."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gpuyard.aws
import gpuyard.components
from gpuyard.components import registry


def test_clouds_are_found_by_name() -> None:
    assert registry.cloud("local").__name__ == "gpuyard.components.local"
    with pytest.raises(LookupError, match="got 'mars', allowed: aws, azure, gcp, local"):
        registry.cloud("mars")
    for package in (gpuyard, gpuyard.aws, gpuyard.components, registry.cloud("local")):
        assert all(getattr(package, name) for name in package.__all__)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            package.nothing  # noqa: B018 the access is the test


def test_importing_components_loads_no_sdk() -> None:
    heavy = "{'pulumi', 'pulumi_aws', 'pulumi_azure_native', 'pulumi_gcp', 'pydantic', 'torch', 'boto3', 'google', 'azure'}"
    # `before` is needed because a Google package has a .pth file that creates the module `google` when Python starts
    names = "gpuyard.components, gpuyard.components.aws, gpuyard.components.azure, gpuyard.components.gcp, gpuyard.components.local"
    code = f"import sys; before = set(sys.modules); import {names}; print({heavy} & (set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "set()\n"
