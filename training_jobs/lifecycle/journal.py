"""The journal of a run bucket. It records a run before the service is called, so that a crash never starts a job twice.

run_layout.py lists the objects of a run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...plain_data import PlainDict
from ...problems import did_you_mean
from ..bucket_documents import MAX_BYTES, parse_document
from ..errors import NotFoundError, UsageError
from ..run_layout import MOST_CLAIMS, attempt_numbers, attempts_path, code_path, is_run_id, record_path, records_path, run_path
from ..spec import RECORDED, JobSpec
from ..state import Reason, State
from ..store import ExistsError, OnLeftOut, open_store

__all__ = ["RESTORE", "VERSION", "Journal", "RunRecord", "Submission", "SubmissionEnd"]

VERSION = 1
RESTORE = "restore an older version, if the bucket keeps versions, or submit again with another request key"
"""The fix for a damaged record."""
_stored: set[str] = set()  # URLs of code that is in its cloud bucket: saves a call for each check


_Time = Annotated[float, Field(ge=0, lt=253_370_764_800)]  # Unix time, before the year 9999


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SubmissionEnd(_Model):
    """The end of a submission, as reported by its service. It is kept in the record, because services forget jobs."""

    state: State
    reason: Reason | None
    exit_code: int | None
    started_at: _Time | None = Field(description="Unix time at which its nodes started; null = they never started")
    ended_at: _Time = Field(description="Unix time")
    detail: str | None = None
    console_url: str | None = None
    restarts: tuple[Reason, ...] = Field((), description="reason of each restart that the service made by itself")

    @property
    def ran_s(self) -> float:
        """The seconds in which its nodes were allocated."""
        return 0.0 if self.started_at is None else max(0.0, self.ended_at - self.started_at)


class Submission(_Model):
    """One job of a run at its service."""

    attempt: int = Field(ge=1, description="lowest attempt number this submission may claim")
    spec: JobSpec
    spec_digest: str
    code_digest: str
    code_url: str
    job: PlainDict = Field(description="the resolved job document that launch reads")
    limit_s: int
    limit_reason: str
    paid_starts: int | None = Field(
        None, description="how often the cost limit lets the nodes start, for limit_s seconds each; null = no cost limit"
    )
    fresh: bool = Field(description="whether time limit and retry counts are reset: true for the first submission and for each --retry")
    written_at: _Time = Field(description="Unix time at which the record was last written before the service call")
    submitter: str | None = Field(None, max_length=512, description="identity of the submitter, from its own credentials")
    nonce: str = Field("", description="random part of the job's name at the service; empty in records that gpuyard 0.1 wrote")
    service_id: str | None = Field(None, description="the service's id of the job; null = recorded, not yet submitted")
    cut: Reason | None = Field(None, description="reason for which gpuyard cancels the job; written before the service is called")
    ended: SubmissionEnd | None = None


class RunRecord(_Model):
    """The content of run.json: one run and all its submissions."""

    version: int = VERSION
    run_id: str
    name: str
    stack: str
    pool: str
    request_key: str | None
    created_at: _Time
    trial: dict[str, str] | None = Field(None, description="values of the sweep's parameters; null = the run is no trial of a sweep")
    submissions: tuple[Submission, ...] = Field(min_length=1)

    @property
    def last(self) -> Submission:
        """The newest submission."""
        return self.submissions[-1]

    @property
    def current(self) -> Sequence[Submission]:
        """The submissions since the last `--retry`, or all submissions. Only these use up the time limit and the retries."""
        first = max(i for i, submission in enumerate(self.submissions) if submission.fresh)
        return self.submissions[first:]

    def with_last(self, **changes: Any) -> RunRecord:
        """Return a copy of the record with changed fields of its newest submission."""
        changed = self.last.model_copy(update=changes)
        return self.model_copy(update={"submissions": (*self.submissions[:-1], changed)})

    def with_next(self, submission: Submission) -> RunRecord:
        """Return a copy of the record with one more submission."""
        return self.model_copy(update={"submissions": (*self.submissions, submission)})


class Journal:
    """The runs of one run bucket. Every write is conditional on the tag of an earlier read."""

    def __init__(self, run_bucket: str) -> None:
        self.url = run_bucket
        self._store = open_store(run_bucket)

    def create(self, record: RunRecord) -> str | None:
        """Create a record. Returns its tag, or None if the run exists already."""
        try:
            return self._store.create(record_path(record.run_id), _dump(record))
        except ExistsError:
            return None

    def find(self, run_id: str) -> tuple[RunRecord, str] | None:
        """Return a record and its tag; None if the run does not exist. Raises UsageError for a damaged or newer record."""
        found = self._store.read(record_path(run_id)) if is_run_id(run_id) else None
        if found is None:
            return None
        try:
            data = json.loads(found[0])
            if data["version"] > VERSION:
                raise UsageError(f"run {run_id} was written by a newer gpuyard; upgrade gpuyard on this machine")
            record = RunRecord.model_validate(data, context=RECORDED)
            if record.run_id != run_id:
                raise UsageError(f"{self.url}/{record_path(run_id)} is the record of another run: {record.run_id[:200]!r}; {RESTORE}")
            return record, found[1]
        except ValidationError as error:
            wrong = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
            raise UsageError(f"{self.url}/{record_path(run_id)} is not a valid run record: wrong fields {wrong}; {RESTORE}") from None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise UsageError(f"{self.url}/{record_path(run_id)} is not a valid run record; {RESTORE}") from None

    def get(self, run_id: str) -> tuple[RunRecord, str]:
        """Return a record and its tag. Raises NotFoundError, which suggests the most similar run id."""
        found = self.find(run_id)
        if found is None:
            hint = did_you_mean(run_id, self.run_ids()) or "`gpuyard list` shows the runs"
            raise NotFoundError(f"no run '{run_id}' in {self.url}; {hint}")
        return found

    def replace(self, record: RunRecord, tag: str) -> str:
        """Replace a record and return its new tag. Raises store.ChangedError if another process replaced it first."""
        return self._store.replace(record_path(record.run_id), _dump(record), tag)

    def run_ids(self) -> list[str]:
        """Return the ids of all runs in the bucket."""
        return [name for name in self._store.names(records_path()) if is_run_id(name)]

    def claims(self, run_id: str) -> list[int]:
        """Return the attempt numbers that nodes claimed, ascending. Raises UnreadableError for more than MOST_CLAIMS objects."""
        return attempt_numbers(self._store.names(attempts_path(run_id), MOST_CLAIMS))

    def document(self, run_id: str, path: str) -> dict[str, object] | None:
        """Return a JSON object that a node wrote below the run's folder. None if it is missing, incomplete or too large."""
        try:
            found = self._store.read(f"{run_path(run_id)}/{path}", MAX_BYTES)
        except UsageError:  # UnreadableError, and what a file system refuses, such as a loop of links
            return None
        return None if found is None else parse_document(found[0])

    def names(self, run_id: str, folder: str) -> list[str]:
        """Return the names directly in a folder of a run."""
        return self._store.names(f"{run_path(run_id)}/{folder}")

    def has_output(self, run_id: str) -> bool:
        """Return whether the run's folder contains any object."""
        try:
            return bool(self._store.names(run_path(run_id), MOST_CLAIMS))
        except UsageError:
            return True

    def store_code(self, sha256: str, data: bytes) -> str:
        """Upload a code tarball if the bucket does not have it yet. Returns the tarball's URL."""
        path, url = code_path(sha256), self.code_url(sha256)
        if url in _stored and not url.startswith("file:"):
            return url
        if not self._store.exists(path):
            with contextlib.suppress(ExistsError):  # another submit uploaded the same content first
                self._store.create(path, data)
        _stored.add(url)
        return url

    def code_url(self, sha256: str) -> str:
        """Return the URL of a code tarball, whether it is stored yet or not."""
        return f"{self.url.rstrip('/')}/{code_path(sha256)}"

    def fetch(self, run_id: str, folder: str, into: Path, on_left_out: OnLeftOut) -> list[str]:
        """Download a folder of a run. Returns the paths written, relative to `into`."""
        return self._store.download(f"{run_path(run_id)}/{folder}", into, on_left_out)


def _dump(record: RunRecord) -> bytes:
    return json.dumps(record.model_dump(mode="json"), indent=1).encode()
