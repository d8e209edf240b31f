"""What every test stands on: no credentials, no network beyond loopback (see addopts), nothing written outside .yard and tmp."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import configuration, settings

CHECKOUT = Path(__file__).resolve().parents[1]
_FOREIGN = ("AWS_", "AZURE_", "ARM_", "GOOGLE_", "CLOUDSDK_", "PULUMI_", "GPUYARD_", "STORAGE_EMULATOR_HOST")

# A developer's own accounts, stacks and targets must never steer a test, nor be reached by one: `make live` alone is for that.
_LIVE = any(pair == ("-m", "live") for pair in zip(sys.argv, sys.argv[1:], strict=False))
if not _LIVE:
    for _name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[_name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.environ["AWS_CONFIG_FILE"] = os.devnull
    os.environ["NO_GCE_CHECK"] = "true"
    os.environ["CLOUDSDK_CONFIG"] = os.devnull

pytest.register_assert_rewrite("tests.fakes", "tests.helpers")  # a check that several tests share says what it saw, as a test does
configuration.set_hypothesis_home_dir(CHECKOUT / ".yard" / "cache" / "hypothesis")
# No deadline: the machine is shared. Derandomized: a red run is red again.
settings.register_profile("gpuyard", deadline=None, derandomize=True, database=None)
settings.load_profile("gpuyard")

# What takes longest begins first, or it would be left for one core alone at the end. In this order, measured on 2 cores.
_FIRST = (
    "tests/docs/test_readme.py::test_every_command_on_the_page",
    "tests/e2e/test_quality.py",
    "tests/e2e/test_train.py",
    "tests/e2e/test_vertex.py",
    "tests/e2e/test_azureml.py",
    "tests/e2e/test_sagemaker.py",
    "tests/engine/",
    "tests/e2e/",
    "tests/faults/",
    "tests/contract/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by how long they take, as far as it is worth writing down; the rest keeps its order."""
    items.sort(key=lambda item: next((rank for rank, start in enumerate(_FIRST) if item.nodeid.startswith(start)), len(_FIRST)))
