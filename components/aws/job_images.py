"""AWS Deep Learning Containers for PyTorch jobs, read from the dated table job_images.yaml. This module imports no SDK."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ..catalogue.machines import Source

__all__ = ["JobImage", "JobImageTable", "job_image", "reference", "table"]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobImage(_Row):
    """One container image and its AWS tag."""

    repository: str
    tag: str
    since: datetime.date
    until: datetime.date = Field(description="day on which AWS stops patching the image")
    source: str = Field(description="where the image is described: a key of the table's `sources`")
    lacks: str | None = Field(description="packages that a job needs and the image does not contain; null = no such package is known")


class JobImageTable(_Row):
    """The file job_images.yaml."""

    cloud: str
    sources: Mapping[str, Source]
    images: Mapping[str, Mapping[str, JobImage]] = Field(description="service -> processor -> image; a missing entry is unknown")
    accounts: Mapping[str, str] = Field(description="region -> account of the registry with the images")


@cache
def table() -> JobImageTable:
    """Return the validated table."""
    return JobImageTable.model_validate(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")))


def job_image(service: str, architecture: str) -> JobImage | None:
    """Return AWS's image for jobs of a service; None if the table has none."""
    return table().images.get(service, {}).get(architecture)


def reference(image: JobImage, region: str) -> str | None:
    """Return an image reference by tag in the registry of a region; None for a region that is not in the table.

    >>> reference(job_image("sagemaker", "x86_64"), "us-east-1")
    '763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.14.0-cu133-amzn2023-sagemaker'
    """
    account = table().accounts.get(region)
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return None if account is None else f"{account}.dkr.ecr.{region}.{suffix}/{image.repository}:{image.tag}"
