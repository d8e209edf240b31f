"""The JSON documents that `--json` prints, each with its name and version in `schema`."""

from __future__ import annotations

import json
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError

from gpuyard.plain_data import PlainDict
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.target import JobTarget

from .safe_text import json_escaped

__all__ = [
    "CheckDocument",
    "CompareDocument",
    "ComparedRunDocument",
    "DoctorDocument",
    "ErrorDocument",
    "FetchDocument",
    "InitDocument",
    "JobPinDocument",
    "ListDocument",
    "PinDocument",
    "PlannedTrialDocument",
    "PoolDocument",
    "PoolsDocument",
    "ProblemDocument",
    "SubmitDocument",
    "SubmitPlanDocument",
    "SweepDocument",
    "SweepPlanDocument",
    "TrialDocument",
    "UploadDocument",
    "emit",
]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class SubmitDocument(_Document):
    """Output of `submit --json`."""

    schema_: Literal["gpuyard.submit/1"] = Field("gpuyard.submit/1", alias="schema")
    run_id: str
    created: bool = Field(description="true if this submission started the run; false if it adopted an existing run")
    note: str
    status: RunStatus


class SubmitPlanDocument(_Document):
    """Output of `submit --dry-run --json`."""

    schema_: Literal["gpuyard.submit-plan/1"] = Field("gpuyard.submit-plan/1", alias="schema")
    run_id: str
    requests: list[PlainDict] = Field(description="operation and exact body of each API request")
    files: list[str] = Field(description="code files that would be sent, as paths in the code folder")
    left_out: list[str] = Field(description="entries of the code folder that would not be sent, each with the reason, except ignored files")


class PinDocument(_Document):
    """Output of `pin --stack --json`."""

    schema_: Literal["gpuyard.pin/1"] = Field("gpuyard.pin/1", alias="schema")
    stack: str
    file: str = Field(description="the stack file")
    changed: bool = Field(description="false: the file already had these pins")
    machine_images: dict[str, str] = Field(description="pool -> machine image, for the pools whose image gpuyard pins")
    job_image: str | None = Field(description="container image of jobs that name no image; null: not pinned")
    note: str | None = Field(description="origin of the job image, or the reason why none is pinned; null: the user named the image")
    diff: str = Field(description="change of the file, as a unified diff")


class JobPinDocument(_Document):
    """Output of `pin JOB.yaml --json`."""

    schema_: Literal["gpuyard.job-pin/1"] = Field("gpuyard.job-pin/1", alias="schema")
    file: str = Field(description="the job file")
    changed: bool = Field(description="false: the file already named its image by digest")
    image: str = Field(description="image by digest, as the file now names it")
    diff: str = Field(description="change of the file, as a unified diff")


class ListDocument(_Document):
    """Output of `list --json`."""

    schema_: Literal["gpuyard.list/1"] = Field("gpuyard.list/1", alias="schema")
    runs: list[RunStatus]


class FetchDocument(_Document):
    """Output of `fetch --json`."""

    schema_: Literal["gpuyard.fetch/1"] = Field("gpuyard.fetch/1", alias="schema")
    run_id: str
    folder: str
    files: list[str] = Field(description="paths in the folder; an object gets the suffix .object if a folder has its name")
    left_out: list[str] = Field(description="links and objects that were not copied, each with the reason")


class InitDocument(_Document):
    """Output of `init --json`."""

    schema_: Literal["gpuyard.init/1"] = Field("gpuyard.init/1", alias="schema")
    folder: str
    cloud: str
    files: list[str] = Field(description="paths of the files that were written, in the folder")


class TrialDocument(_Document):
    """One trial of a sweep."""

    trial: int
    values: dict[str, str] = Field(description="parameter -> its value in this trial")
    metric: float | None = Field(description="the compared metric; null: not reported")
    status: RunStatus


class SweepDocument(_Document):
    """Output of `sweep --json`."""

    schema_: Literal["gpuyard.sweep/1"] = Field("gpuyard.sweep/1", alias="schema")
    key: str
    metric: str
    goal: Literal["min", "max"]
    best: str | None = Field(description="run id of the succeeded trial with the best metric; null: none has it")
    trials: list[TrialDocument]


class PlannedTrialDocument(_Document):
    """One trial of a sweep that was not submitted."""

    trial: int = Field(description="number of the trial, from 1")
    values: dict[str, str] = Field(description="parameter -> its value")
    request_key: str = Field(description="request key of the trial's run")
    command: list[str] = Field(description="`command` of the trial's job")


class SweepPlanDocument(_Document):
    """Output of `sweep --dry-run --json`."""

    schema_: Literal["gpuyard.sweep-plan/1"] = Field("gpuyard.sweep-plan/1", alias="schema")
    key: str
    trials: list[PlannedTrialDocument]


class ComparedRunDocument(_Document):
    """One run of a comparison."""

    options: dict[str, str] = Field(
        description="options of the command, and settings of the job file such as `env.LR`, that are not the same in all runs"
    )
    metric: float | None = Field(description="the compared metric; null: not reported")
    status: RunStatus


class CompareDocument(_Document):
    """Output of `compare --json`."""

    schema_: Literal["gpuyard.compare/1"] = Field("gpuyard.compare/1", alias="schema")
    metric: str
    goal: Literal["min", "max"]
    best: str | None = Field(description="run id of the succeeded run with the best metric; null: none has it")
    runs: list[ComparedRunDocument]


class PoolDocument(_Document):
    """One pool that takes jobs."""

    pool: str
    nodes: int = Field(description="largest number of nodes")
    free: int = Field(description="nodes that no job uses")
    waiting: int = Field(description="number of jobs that wait for nodes")
    detail: str | None = Field(None, description="what is wrong with the pool; null = nothing")
    target: JobTarget


class PoolsDocument(_Document):
    """Output of `pools --json`."""

    schema_: Literal["gpuyard.pools/1"] = Field("gpuyard.pools/1", alias="schema")
    pools: list[PoolDocument]


class CheckDocument(_Document):
    """One check of `doctor`."""

    name: str
    ok: bool
    detail: str
    fix: str | None


class DoctorDocument(_Document):
    """Output of `doctor --json`."""

    schema_: Literal["gpuyard.doctor/1"] = Field("gpuyard.doctor/1", alias="schema")
    checks: list[CheckDocument]


class ProblemDocument(_Document):
    """One input error."""

    key: str
    what: str
    got: str | None
    allowed: str | None
    fix: str | None


class UploadDocument(_Document):
    """Output of `upload --json`."""

    schema_: Literal["gpuyard.upload/1"] = Field("gpuyard.upload/1", alias="schema")
    url: str
    sent: list[str] = Field(description="paths that were sent, below the URL; an empty path is the URL itself")
    unchanged: int = Field(description="number of files that were there with the same content")
    left_out: list[str] = Field(description="links and files that are not regular, each with the reason")


class ErrorDocument(_Document):
    """An error of any command with --json."""

    schema_: Literal["gpuyard.error/1"] = Field("gpuyard.error/1", alias="schema")
    error: str
    exit_code: int
    problems: list[ProblemDocument]


def emit(document: BaseModel) -> None:
    """Print a document on stdout."""
    try:
        text = document.model_dump_json(by_alias=True, indent=2)
    except PydanticSerializationError:  # a file name that is not UTF-8
        text = json.dumps(document.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # a closed stdout has none
    sys.stdout.write(json_escaped(text, encoding) + "\n")
    sys.stdout.flush()
