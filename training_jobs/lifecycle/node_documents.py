"""Parse the documents that a run's nodes write into the run bucket. They are not trusted: a job may have written anything there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from ..errors import UsageError

__all__ = [
    "Claim",
    "CurvePoint",
    "NoDocuments",
    "NodeDocuments",
    "NodeResult",
    "Preflight",
    "ProgressDocument",
    "ReadOnce",
    "read_fitting",
    "readable_claims",
]

_YEAR_9999 = 253_370_764_800.0
_TAIL_LINES, _TAIL_WIDTH = 50, 2000
_M = TypeVar("_M", bound=BaseModel)


class NodeDocuments(Protocol):
    """The documents of a run's nodes: a Journal, or NoDocuments."""

    @property
    def url(self) -> str: ...  # noqa: D102

    def claims(self, run_id: str) -> list[int]: ...  # noqa: D102

    def document(self, run_id: str, path: str) -> dict[str, object] | None: ...  # noqa: D102


@dataclass(frozen=True)
class NoDocuments:
    """An empty NodeDocuments, for a run whose nodes have not started."""

    url: str

    def claims(self, run_id: str) -> list[int]:
        """Return no attempt numbers."""
        return []

    def document(self, run_id: str, path: str) -> dict[str, object] | None:
        """Return no document."""
        return None


class ReadOnce:
    """A cache for one status: each document is read at most once, because in a cloud bucket every read is a request."""

    def __init__(self, source: NodeDocuments) -> None:
        self._source, self.url, self._documents = source, source.url, dict[tuple[str, str], dict[str, object] | None]()

    def claims(self, run_id: str) -> list[int]:
        """Return the attempt numbers that nodes claimed."""
        return self._source.claims(run_id)

    def document(self, run_id: str, path: str) -> dict[str, object] | None:
        """Return a document. If it was read before, return the cached document."""
        if (run_id, path) not in self._documents:
            self._documents[run_id, path] = self._source.document(run_id, path)
        return self._documents[run_id, path]


def _unix(moment: object) -> float:
    """Convert a Unix time or an ISO 8601 text to Unix time. Raises ValueError for anything else."""
    found = datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < _YEAR_9999:
        raise ValueError("not a time")
    return float(found)


_Time = Annotated[float, BeforeValidator(_unix)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
CurvePoint = tuple[_Finite, _Finite]
"""Step and value of a metric."""


class Claim(BaseModel):
    """attempts/<n>.json: written by node 0 after all nodes had connected."""

    claimed_at: _Time | None = None


class ProgressDocument(BaseModel):
    """progress.json of an attempt: written by node 0 from rank 0's reports."""

    phase: str | None = None
    restarts: int = 0
    step: object = None
    steps: object = None
    metrics: dict[str, object] = Field(default_factory=dict)
    first_step: int | None = None
    first_step_at: _Time | None = None
    curves: dict[str, list[CurvePoint]] = Field(default_factory=dict)


class NodeResult(BaseModel):
    """node-<i>.json: the end of one node."""

    exit_code: int | None = None
    ended_at: _Time | None = None
    tail: list[str] = Field(default_factory=list)

    def shown_tail(self) -> list[str]:
        """Return the last lines of the log. Long lines are cut, to fit into a status."""
        return [text[:_TAIL_WIDTH] for text in self.tail[-_TAIL_LINES:]]


class _AllReduce(BaseModel):
    transport: str | None = None
    backend: str | None = None
    nics: int | None = None
    busbw_gbs: float | None = Field(None, allow_inf_nan=False)


class Preflight(BaseModel):
    """preflight.json: results of the checks before the job."""

    verdict: str | None = None
    all_reduce: _AllReduce = _AllReduce()

    @classmethod
    def from_document(cls, data: Mapping[str, object] | None) -> Preflight:
        """Create from the content of preflight.json, which has the all-reduce under `checks`."""
        checks = (data or {}).get("checks")
        measured = checks.get("all_reduce") if isinstance(checks, Mapping) else None
        return read_fitting(cls, data).model_copy(update={"all_reduce": read_fitting(_AllReduce, measured)})


def readable_claims(documents: NodeDocuments, run_id: str) -> tuple[list[int], str | None]:
    """Return the attempt numbers that nodes claimed. If the folder cannot be listed, return none and the reason as text."""
    try:
        return documents.claims(run_id), None
    except UsageError as error:
        return [], f"attempts are not shown: {error}"


def read_fitting(model: type[_M], data: object) -> _M:
    """Convert a document to a model. A value of a wrong type counts as missing; unknown keys are ignored."""
    if not isinstance(data, Mapping):
        return model()
    fitting: dict[str, object] = {}
    for name in model.model_fields.keys() & data.keys():
        try:
            fitting[name] = getattr(model.model_validate({name: data[name]}), name)
        except (ValidationError, OverflowError):
            continue
    return model.model_construct(**{**{name: getattr(model(), name) for name in model.model_fields}, **fitting})
