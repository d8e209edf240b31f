"""Settings of every test: no credentials, no network beyond loopback (see addopts), nothing written outside .yard and tmp."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader, Loader
from hypothesis import configuration, settings

CHECKOUT = Path(__file__).resolve().parents[1]
_FOREIGN = ("AWS_", "AZURE_", "ARM_", "GOOGLE_", "CLOUDSDK_", "PULUMI_", "GPUYARD_", "STORAGE_EMULATOR_HOST")

# A developer's own accounts, stacks and targets must never affect a test, and no test may reach them.
for _name in [name for name in os.environ if name.startswith(_FOREIGN)]:
    del os.environ[_name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.environ["AWS_CONFIG_FILE"] = os.devnull
os.environ["AWS_ENDPOINT_URL_STS"] = "http://127.0.0.1:9"  # refuses at once; a test of principals sets another
os.environ["NO_GCE_CHECK"] = "true"
os.environ["CLOUDSDK_CONFIG"] = os.devnull
os.environ["OMP_NUM_THREADS"] = "1"  # the test processes use all cores already, and torch's threads then wait for each other

pytest.register_assert_rewrite("tests.fakes", "tests.helpers")  # shows the values in failed assertions of a helper, as in a test
configuration.set_hypothesis_home_dir(CHECKOUT / ".yard" / "cache" / "hypothesis")
# No deadline, because the machine is shared. Derandomized, so that a failure repeats.
settings.register_profile("gpuyard", deadline=None, derandomize=True, database=None)
settings.load_profile("gpuyard")

# The slowest tests, by measurement on 2 cores. They start first, or the last one would keep one core busy alone at the end.
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


@functools.cache
def _service_model(path: str) -> Any:
    """Return the content of a file of botocore's models."""
    return JSONFileLoader.load_file(JSONFileLoader(), path)


class _CachedModels(JSONFileLoader):  # type: ignore[misc]
    """Parses each model of botocore once in a test process, not once in each of the hundreds of sessions."""

    def load_file(self, file_path: str) -> Any:
        return _service_model(file_path)


Loader.FILE_LOADER_CLASS = _CachedModels


def _check_open(file: int) -> None:
    """Raise OSError for a closed file, as fsync does, without the wait for the disk: no test cuts the power."""
    os.fstat(file)


os.fsync = _check_open  # type: ignore[assignment]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return three test processes for two cores, because a test waits a quarter of its time for processes, clocks and the disk."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slow tests first. All others keep their order."""
    items.sort(key=lambda item: next((rank for rank, start in enumerate(_FIRST) if item.nodeid.startswith(start)), len(_FIRST)))
