"""JobSpec: the description of a job, from YAML or Python. It is validated before anything is created.

spec, base = load_job("jobs/nightly.yaml")     # base: the folder that `code:` is relative to
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from ..plain_data import PlainDict, PlainMapping
from ..problems import Problem, did_you_mean, problems_from
from .data_entries import DataEntry, data_urls
from .durations import Duration
from .errors import UsageError
from .launch.variables import NAMES, data_variable, used_variables
from .other_tools import text_for_list, with_own_keys
from .process_limits import unusable
from .secret_rule import arguments_hold_secret, looks_secret, split_marks
from .strict_yaml import read_yaml
from .value_bounds import out_of_bounds

__all__ = ["RECORDED", "Checkpoint", "EnvName", "JobSpec", "Retries", "load_job", "parse_job"]

RECORDED = {"recorded": True}
"""Validation context for specs from a run record. It skips the rules that may be stricter now than when the job was accepted."""

_TEXT_KEYS = ("name", "pool", "gpus", "image", "code", "setup", "command", "env", "secrets", "data", "labels")
"""Keys of a job file whose values are text. A number below them stays as written: the version 3.10 does not become 3.1."""
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_PLAIN = {"type": ["string", "number"]}
_Text = Annotated[str, WithJsonSchema(_PLAIN)]
"""Text that a job file may write as a number."""
_MARKED = {
    "type": "object",
    "properties": {"value": _PLAIN, "secret": {"const": False}},
    "required": ["value", "secret"],
    "additionalProperties": False,
}
_EnvValue = Annotated[str, WithJsonSchema({"anyOf": [_PLAIN, _MARKED]})]


def _default(text: str, description: str) -> Any:
    """Return a pydantic field for a duration. `text`: its default, as users write it."""
    return Field(text, description=description)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, validate_default=True)


class Checkpoint(_Model):
    """Checkpoint interval and retention."""

    every: Duration = _default("10m", "time between saves")
    keep: int = Field(3, ge=1, description="number of newest checkpoints to keep")


class Retries(_Model):
    """How many new attempts a run may start from its newest checkpoint, for each reason why an attempt ends."""

    preempted: int = Field(3, ge=0, description="new attempts after a preemption")
    infra: int = Field(0, ge=0, description="new attempts after a fault of a machine, the network or the fabric")
    user_error: int = Field(0, ge=0, description="new attempts after a failure of the script itself")


class JobSpec(_Model):
    """A distributed PyTorch job. Durations are strings with units."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", description="name of the job: a-z, 0-9 and -, at most 40 characters")
    pool: str | None = Field(None, description="pool of the stack; default: the only pool; --pool overrides it")
    gpus: str | None = Field(
        None,
        pattern=r"^([A-Za-z][A-Za-z0-9-]*:)?[0-9]+$",
        description="GPUs per node, checked against the pool: `H100:8` or `8`; default: not checked",
    )
    nodes: int = Field(1, ge=1, description="number of nodes; they start together")
    nproc_per_node: int | None = Field(None, ge=1, description="processes per node; default: one per GPU or CPU slot")
    image: str | None = Field(None, description="container image with its digest; default: the target's image")
    code: str | None = Field(
        None,
        description="folder with the job's code, relative to the job file; files in .gitignore are not sent; default: no code",
    )
    setup: list[_Text] | None = Field(None, min_length=1, description="command (argv) that each node runs once before its ranks start")
    launcher: Literal["torchrun", "none"] = Field("torchrun", description="`torchrun`, or `none`: run the command once per node")
    command: list[_Text] = Field(min_length=1, description="argv that follows `torchrun`, e.g. [train.py, --lr, 3e-4]")
    env: dict[EnvName, _EnvValue] = Field(default_factory=dict, description="environment variables; secrets go under secrets:")
    secrets: dict[EnvName, str] = Field(default_factory=dict, description="{VARIABLE: logical name of a secret in the stack}")
    data: dict[EnvName, DataEntry] = Field(
        default_factory=dict,
        description="{name: URL}, also yard://<bucket>/<path>, or {name: {url: URL, mount: copy}}; the job reads GPUYARD_DATA_<NAME>",
    )
    checkpoint: Checkpoint = Field(Checkpoint(), description="time between saves, and number of checkpoints to keep: {every, keep}")
    max_restarts: int = Field(0, ge=0, le=100, description="torchrun's restarts of all workers inside one attempt")
    retries: Retries = Field(Retries(), description="largest number of new attempts for each reason: {preempted, infra, user_error}")
    timeout: Duration = _default("24h", "longest run time of all attempts together, counted from the last --retry")
    queue_timeout: Duration | None = Field(None, description="longest wait for nodes; default: no limit")
    max_cost_usd: float | None = Field(None, gt=0, description="highest cost of all attempts, in USD; default: the stack's limit")
    priority: int | None = Field(
        None,
        ge=0,
        le=9999,
        description="0 to 9999, only where teams share an AWS Batch pool: a team's jobs with a higher number start first; default 0",
    )
    preflight: Literal["required", "skip", "only"] = Field(
        "required", description="checks of the nodes before the job starts; `only` checks and runs no job"
    )
    labels: dict[str, _Text] = Field(default_factory=dict, description="labels or tags of the job at its service; `local` has none")

    @field_validator("command", "setup", mode="before")
    @classmethod
    def _arguments_are_a_list(cls, given: object, info: ValidationInfo) -> object:
        if isinstance(given, str):
            raise ValueError(text_for_list(info.field_name or "", given))
        return given

    @field_validator("command")
    @classmethod
    def _command_follows_torchrun(cls, command: list[str], info: ValidationInfo) -> list[str]:
        problem = _command_problem(command, info.data.get("launcher"))
        if problem:
            raise ValueError(problem)
        return command

    @field_validator("env", mode="wrap")
    @classmethod
    def _env_holds_no_secrets(cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> dict[str, str]:
        plain, public = split_marks(value)
        env: dict[str, str] = handler(plain)
        if info.context == RECORDED:
            return env
        names = sorted(name for name, value in env.items() if name not in public and looks_secret(name, value))
        if names:
            raise ValueError(
                f"the value of {', '.join(names)} looks like a secret (not shown); store it as a secret of the stack and write "
                f"secrets: {{{names[0]}: <logical name>}}, or, if it is no secret, env: {{{names[0]}: {{value: ..., secret: false}}}}"
            )
        reserved = sorted(name for name in env if name.startswith("GPUYARD_"))
        if reserved:
            raise ValueError(f"{', '.join(reserved)}: names that begin with GPUYARD_ are reserved; choose another name")
        return env

    @field_validator("command", "setup", "data", "labels", "secrets")
    @classmethod
    def _arguments_hold_no_secrets(cls, given: list[str] | dict[str, Any] | None, info: ValidationInfo) -> object:
        if info.context == RECORDED:
            return given
        if isinstance(given, dict):
            label = info.field_name == "labels"
            names = [
                name for name, value in data_urls(given).items() if (looks_secret(name, value) if label else arguments_hold_secret([value]))
            ]
            place = ", ".join(f"{info.field_name}.{name}" for name in sorted(names))
        else:
            place = "an argument" if arguments_hold_secret(given or []) else ""
        if place:
            raise ValueError(
                f"{place} contains a text that looks like a secret (not shown); store it as a secret of the stack and write "
                "secrets: {NAME: <logical name>}, or, if it is no secret, pass it as env: {NAME: {value: ..., secret: false}}"
            )
        return given

    @field_validator("data")
    @classmethod
    def _data_names_differ(cls, data: dict[str, DataEntry]) -> dict[str, DataEntry]:
        by_variable = defaultdict[str, list[str]](list)
        for name in data:
            by_variable[data_variable(name)].append(name)
        for variable, names in by_variable.items():
            if len(names) > 1:
                raise ValueError(Problem("", "two names for one variable", ", ".join(names), fix=f"rename one: both would be {variable}"))
        return data

    @field_validator("*")
    @classmethod
    def _values_are_usable(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        plain = data_urls(value) if name == "data" else value
        if info.context != RECORDED and (problem := unusable(name, plain) or out_of_bounds(name, value)):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _arguments_use_known_variables(self, info: ValidationInfo) -> JobSpec:
        known = [*NAMES, *map(data_variable, self.data), *self.env]
        problems = [
            Problem(f"{field}.{index}", "no such variable", f"${{{name}}}", ", ".join(known), _variable_fix(name, known))
            for field, argv in (("command", self.command), ("setup", self.setup or []))
            for index, name in (used_variables(argv) if argv else [])
            if name not in known
        ]
        if problems and info.context != RECORDED:
            raise ValueError(*problems)
        return self

    @field_validator("secrets")
    @classmethod
    def _secrets_are_not_in_env(cls, secrets: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        both = sorted(secrets.keys() & (info.data.get("env") or {}).keys())
        if both:
            raise ValueError(f"set in secrets and in env: {', '.join(both)}; remove each from one of the two")
        return secrets


def _variable_fix(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known) or f"write $${{{name}}} for the text ${{{name}}} itself"


def _command_problem(command: list[str], launcher: str | None) -> str | None:
    first, name = command[0], Path(command[0]).name
    if name == "torchrun" or command[:2] == ["-m", "torch.distributed.run"]:
        return "gpuyard starts torchrun; write only its arguments, or set launcher: none"
    if not first:
        return "the first element is empty; begin with a script or -m"
    if launcher == "none":
        return None
    if re.fullmatch(r"python(3(\.\d+)?)?", name):
        return f"got {first}, allowed: [train.py, ...] or [-m, module, ...]; torchrun starts Python"
    if first == "-m" and len(command) == 1:
        return "-m needs a module; write [-m, package.module, ...]"
    if first.startswith("-") and first != "-m":
        return f"must begin with a script or -m, got {first}; write torchrun's flags as keys: nodes, max_restarts, ..."
    return None


def parse_job(data: PlainMapping, source: str = "job") -> JobSpec:
    """Validate a job. Raises UsageError that lists every problem."""
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{source} is not a valid job", with_own_keys(problems_from(error, JobSpec))) from None


def load_job(path: str | Path, change: Callable[[PlainDict], PlainDict] = dict) -> tuple[JobSpec, Path]:
    """Read a job file. Returns the spec and the folder that `code:` is relative to.

    `change` gets the file's content and returns it changed; the default returns a copy. Raises UsageError that lists every problem,
    including misleading YAML values.
    """
    file = Path(path)
    data, traps = read_yaml(file, as_text=_TEXT_KEYS)
    problems: list[Problem] = []
    try:
        spec = JobSpec.model_validate(change(data))
    except ValidationError as error:
        problems = with_own_keys(problems_from(error, JobSpec))
    if traps or problems:
        raise UsageError(f"{file} is not a valid job", [*traps, *problems])
    return spec, file.resolve().parent
