"""The lowest versions in pyproject.toml that the code relies on: one row for each fact, with source and date. `make lowest` runs them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tools import lowest

CHECKOUT = Path(__file__).resolve().parents[2]


class Floor(NamedTuple):
    """The first version of a package that behaves as the code expects."""

    package: str
    version: str
    fact: str
    source: str
    date: str
    """Day on which the source was read."""


FLOORS = (
    Floor(
        "adlfs",
        "2026.4",
        "AzureBlobFileSystem signs in by default. Earlier versions read anonymously unless AZURE_STORAGE_ANON is false",
        "adlfs/spec.py of the wheels 2025.8.0 and 2026.4.0; github.com/fsspec/adlfs/releases/tag/2026.4.0",
        "2026-12-01",
    ),
    Floor(
        "azure-identity",
        "1.24",
        "DefaultAzureCredential accepts AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential. 1.23.1 raises ValueError: dev or prod",
        "azure/identity/_credentials/default.py of the wheels 1.23.1 and 1.24.0",
        "2026-12-01",
    ),
    Floor("s3fs", "2025.3", "pipe_file(mode='create') never overwrites", "the test of launch on S3", "2026-12-01"),
    Floor("gcsfs", "2025.3", "the same on Cloud Storage", "the test of launch on Cloud Storage", "2026-12-01"),
)


def floors() -> dict[str, Version]:
    """Return the lowest version of each package that pyproject.toml states."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    bounds = [(one.name, part.version) for one in map(Requirement, listed) for part in one.specifier if part.operator == ">="]
    return {name: Version(version) for name, version in bounds}


@pytest.mark.parametrize("row", FLOORS, ids=lambda row: row.package)
def test_no_extra_allows_a_version_that_is_too_old_for_the_code(row: Floor) -> None:
    assert floors()[row.package] >= Version(row.version), f"{row.fact} ({row.source}, {row.date})"


def test_the_printed_fixes_name_the_floors() -> None:
    text = (CHECKOUT / "training_jobs/launch/objects.py").read_text(encoding="utf-8")
    assert f"pip install 'adlfs>={floors()['adlfs']}'" in text
    assert f"pip install '{{package}}>={floors()['s3fs']}'" in text
    assert floors()["s3fs"] == floors()["gcsfs"]


def test_make_lowest_covers_every_extra_and_runs_tests_that_exist() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*lowest.EXTRAS, "dev"} == set(project["optional-dependencies"])
    assert all((CHECKOUT / test).exists() for test in lowest.TESTS)
