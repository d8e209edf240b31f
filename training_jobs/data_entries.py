"""The entries of a job's `data`: a URL that the script opens itself, or data that each node copies to its disk first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

__all__ = ["DataCopy", "DataEntry", "copied_names", "data_urls"]


class DataCopy(BaseModel):
    """Data that each node copies to its disk before `setup`. The variable of the entry is the path there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="URL of a folder or an object, also yard://<bucket>/<path>")
    mount: Literal["copy"] = Field(
        description="`copy`: each node copies the data to its disk once; to pass the URL itself write {name: URL}"
    )


def _kind(entry: object) -> str:
    return "(copy)" if isinstance(entry, Mapping | DataCopy) else "(url)"


DataEntry = Annotated[Annotated[str, Tag("(url)")] | Annotated[DataCopy, Tag("(copy)")], Discriminator(_kind)]


def data_urls(data: Mapping[str, str | DataCopy]) -> dict[str, str]:
    """Return the URL of each entry."""
    return {name: entry.url if isinstance(entry, DataCopy) else entry for name, entry in data.items()}


def copied_names(data: Mapping[str, str | DataCopy]) -> list[str]:
    """Return the names of the entries that each node copies."""
    return [name for name, entry in data.items() if isinstance(entry, DataCopy)]
