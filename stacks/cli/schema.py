"""`gpuyard schema`: prints the JSON Schema of the job file, the stack file's settings and every --json document."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuyard.plain_data import PlainDict

__all__ = ["command", "models", "text"]


def command(
    name: Annotated[str | None, typer.Argument(help="Name of the schema; default: list the names.", show_default=False)] = None,
) -> None:
    """Print the JSON Schema of a file or document, for editors and pipelines."""
    from gpuyard.problems import Problem, did_you_mean
    from gpuyard.training_jobs.errors import UsageError

    known = models()
    if name is None:
        print("\n".join(known))
        return
    if name not in known:
        problem = Problem("NAME", "unknown schema", name, ", ".join(known), did_you_mean(name, known))
        raise UsageError("the schema cannot be printed", [problem])
    print(text(name))


def text(name: str) -> str:
    """Return a schema as JSON text. `name`: a key of `models()`."""
    import json

    from pydantic import TypeAdapter

    return json.dumps(TypeAdapter(models()[name]).json_schema(by_alias=True), indent=2)


def models() -> PlainDict:
    """Return the class of each schema by its name. A document of a command has the command's name."""
    from gpuyard.components.planning.document import Plan
    from gpuyard.training_jobs.spec import JobSpec
    from gpuyard.training_jobs.status import RunStatus
    from gpuyard.training_jobs.target import JobTarget

    from ..settings import StackSettings
    from . import documents

    return {
        "job": JobSpec,
        "stack": StackSettings,
        "target": JobTarget,
        "submit": documents.SubmitDocument,
        "submit-plan": documents.SubmitPlanDocument,
        "plan": Plan,
        "status": RunStatus,
        "wait": RunStatus,
        "cancel": RunStatus,
        "pin": documents.PinDocument,
        "job-pin": documents.JobPinDocument,
        "list": documents.ListDocument,
        "fetch": documents.FetchDocument,
        "init": documents.InitDocument,
        "sweep": documents.SweepDocument,
        "sweep-plan": documents.SweepPlanDocument,
        "compare": documents.CompareDocument,
        "pools": documents.PoolsDocument,
        "doctor": documents.DoctorDocument,
        "upload": documents.UploadDocument,
        "error": documents.ErrorDocument,
    }
