"""The run record: written by conditional create before the API call, so that no crash can pay twice.

Everything of a run lies in the run bucket under gpuyard/runs/<run_id>/: `run.json` (this record),
`attempts/<n>.json` (claimed by launch on node 0), `output/` and `checkpoints/`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...problems import did_you_mean
from ..errors import NotFoundError, UsageError
from ..run_layout import RUNS, attempt_numbers, attempts_path, code_path, record_path, run_path
from ..spec import RECORDED, JobSpec
from ..state import Reason, State
from ..store import ExistsError, open_store

VERSION = 1
_kept: set[str] = set()  # tarballs that this process has seen in far buckets: asking again costs a call with each submission


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ended(_Model):
    """How a submission ended, as the service told it; kept, because services forget."""

    state: State
    reason: Reason | None
    exit_code: int | None
    started_at: float | None = Field(description="Unix time at which its nodes started; null = never")
    ended_at: float = Field(description="Unix time")
    detail: str | None = None
    console_url: str | None = None
    restarts: tuple[Reason, ...] = Field((), description="why the service started its nodes anew by itself, each time")

    @property
    def ran_s(self) -> float:
        """Seconds its nodes were held."""
        return 0.0 if self.started_at is None else max(0.0, self.ended_at - self.started_at)


class Submission(_Model):
    """One call of the service for a run."""

    attempt: int = Field(ge=1, description="lowest attempt number this submission may claim")
    spec: JobSpec
    spec_digest: str
    code_digest: str
    code_url: str
    job: dict[str, Any] = Field(description="the resolved document that launch works from")
    limit_s: int
    limit_reason: str
    fresh: bool = Field(description="starts the clocks and allowances anew (the first, and every --retry)")
    written_at: float = Field(description="Unix time of this record's last writer before the call")
    service_id: str | None = Field(None, description="null = written down, not yet submitted")
    cut: Reason | None = Field(None, description="why gpuyard itself asked the service to end it; written before it asks")
    ended: Ended | None = None


class RunRecord(_Model):
    """run.json."""

    version: int = VERSION
    run_id: str
    name: str
    stack: str
    pool: str
    request_key: str | None
    created_at: float
    submissions: tuple[Submission, ...]

    @property
    def last(self) -> Submission:
        """The newest submission."""
        return self.submissions[-1]

    @property
    def current(self) -> Sequence[Submission]:
        """The submissions that share the present clocks and allowances."""
        first = max(i for i, submission in enumerate(self.submissions) if submission.fresh)
        return self.submissions[first:]

    def with_last(self, **changes: Any) -> RunRecord:
        """The record with its newest submission changed."""
        changed = self.last.model_copy(update=changes)
        return self.model_copy(update={"submissions": (*self.submissions[:-1], changed)})

    def with_next(self, submission: Submission) -> RunRecord:
        """The record with one more submission."""
        return self.model_copy(update={"submissions": (*self.submissions, submission)})


class Journal:
    """The runs of one run bucket. Every write is conditional; tags come from the reads."""

    def __init__(self, run_bucket: str) -> None:
        self.url = run_bucket
        self._store = open_store(run_bucket)

    def create(self, record: RunRecord) -> str | None:
        """Write a new record. Returns its tag, or None when the run is there already."""
        try:
            return self._store.create(record_path(record.run_id), _dump(record))
        except ExistsError:
            return None

    def find(self, run_id: str) -> tuple[RunRecord, str] | None:
        """A record and its tag; None when there is no such run. Raises UsageError for a newer record."""
        found = self._store.read(record_path(run_id))
        if found is None:
            return None
        try:
            data = json.loads(found[0])
            if data["version"] > VERSION:
                raise UsageError(f"run {run_id} was written by a newer gpuyard; upgrade gpuyard here")
            return RunRecord.model_validate(data, context=RECORDED), found[1]
        except ValidationError as error:
            wrong = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
            raise UsageError(f"{self.url}/{record_path(run_id)} is not a run record of gpuyard's: {wrong}") from None
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{self.url}/{record_path(run_id)} is not a run record of gpuyard's") from None

    def get(self, run_id: str) -> tuple[RunRecord, str]:
        """A record and its tag. Raises NotFoundError, with the nearest known run."""
        found = self.find(run_id)
        if found is None:
            hint = did_you_mean(run_id, self.run_ids()) or "`gpuyard list` shows the runs"
            raise NotFoundError(f"no run '{run_id}' in {self.url}; {hint}")
        return found

    def replace(self, record: RunRecord, tag: str) -> str:
        """Overwrite a record. Raises store.ChangedError when somebody was quicker."""
        return self._store.replace(record_path(record.run_id), _dump(record), tag)

    def run_ids(self) -> list[str]:
        """All runs of the bucket."""
        return self._store.names(RUNS)

    def claims(self, run_id: str) -> list[int]:
        """The attempt numbers that nodes claimed, ascending."""
        return attempt_numbers(self._store.names(attempts_path(run_id)))

    def document(self, run_id: str, path: str) -> dict[str, Any] | None:
        """A JSON object that a node left in the run's folder; None when it is not there or not whole yet."""
        found = self._store.read(f"{run_path(run_id)}/{path}")
        if found is None:
            return None
        try:
            data = json.loads(found[0])
        except ValueError:
            return None
        return data if isinstance(data, dict) else None

    def names(self, run_id: str, folder: str) -> list[str]:
        """Names directly in a folder of a run."""
        return self._store.names(f"{run_path(run_id)}/{folder}")

    def keep_code(self, sha256: str, data: bytes) -> str:
        """Store a tarball under its own digest, once. Returns its URL."""
        path, url = code_path(sha256), self.code_url(sha256)
        if url in _kept and not url.startswith("file:"):
            return url
        if not self._store.exists(path):
            with contextlib.suppress(ExistsError):  # another submit was quicker, with the same content
                self._store.create(path, data)
        _kept.add(url)
        return url

    def code_url(self, sha256: str) -> str:
        """Where a tarball is, or would be."""
        return f"{self.url.rstrip('/')}/{code_path(sha256)}"

    def fetch(self, run_id: str, folder: str, into: Path) -> list[str]:
        """Copy a folder of a run to this machine."""
        return self._store.download(f"{run_path(run_id)}/{folder}", into)


def _dump(record: RunRecord) -> bytes:
    return json.dumps(record.model_dump(mode="json"), indent=1).encode()
