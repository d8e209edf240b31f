"""AWS's own containers for PyTorch jobs, from the dated table job_images.yaml. Pure, without the SDK: `gpuyard pin` reads it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Row):
    """Where facts come from."""

    what: str
    url: str
    date: datetime.date


class JobImage(_Row):
    """One image, by the tag that AWS gives it."""

    repository: str
    tag: str
    since: datetime.date
    until: datetime.date = Field(description="day on which AWS ends its patches")
    source: str = Field(description="key in the table's sources")
    lacks: str | None = Field(description="what keeps a job from running in it; null = nothing known")


class Table(_Row):
    """The table."""

    cloud: str
    sources: Mapping[str, Source]
    images: Mapping[str, Mapping[str, JobImage]] = Field(description="service -> processor -> image; what is missing is not known")
    accounts: Mapping[str, str] = Field(description="region -> account whose registry holds them")


@cache
def table() -> Table:
    """The table, validated."""
    return Table.model_validate(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")))


def job_image(service: str, architecture: str) -> JobImage | None:
    """AWS's image for a service's jobs; None where the table knows none."""
    return table().images.get(service, {}).get(architecture)


def reference(image: JobImage, region: str) -> str | None:
    """An image by tag in the registry of a region; None for a region that the table does not know.

    >>> reference(job_image("sagemaker", "x86_64"), "us-east-1")
    '763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.14.0-cu133-amzn2023-sagemaker'
    """
    account = table().accounts.get(region)
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return None if account is None else f"{account}.dkr.ecr.{region}.{suffix}/{image.repository}:{image.tag}"
