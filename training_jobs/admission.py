"""Check whether a job can run on a target, before anything is written or paid for."""

from __future__ import annotations

import datetime
import re

from ..problems import Problem, did_you_mean
from .data_entries import copied_names, data_urls
from .errors import UsageError
from .run import time_limit, yard_bucket
from .spec import JobSpec
from .target import BatchTarget, JobTarget

_UNEXPANDED = re.compile(r"\$\(|\$\{|\$[A-Za-z_]|\{\{|`|%\w+%|<no value>")  # of shells, CI systems, cmd.exe and Go templates
_LONGEST_KEY = 256
_COPIED_SCHEMES = ("yard", "s3", "gs", "abfs", "file")  # of data with `mount: copy`

__all__ = ["check", "check_key"]


def check(spec: JobSpec, target: JobTarget, now: float) -> None:
    """Check that a job can run on a target at `now` (Unix time). Raises UsageError that lists every problem."""
    problems = [
        *_size_problems(spec, target),
        *_name_problems(spec, target),
        *_limit_problems(spec, target),
        *_share_problems(spec, target),
        *_expiry_problems(target, now),
    ]
    if problems:
        raise UsageError(f"job '{spec.name}' cannot run on pool '{target.pool}' of {target.stack}", problems)


def check_key(key: str) -> None:
    """Check a request key.

    Raises UsageError if the key is empty or too long, or has an unexpanded variable, outer blanks or invisible characters.
    """
    got, allowed = repr(key[:_LONGEST_KEY]), "a new text for each logical job, such as its date"
    if not key.strip():
        problem = Problem("--request-key", "an empty key", got, allowed)
    elif _UNEXPANDED.search(key):
        problem = Problem("--request-key", "an unexpanded variable", got, fix='use double quotes in a shell: "$(date -u +%F)"')
    elif key != key.strip() or not key.isprintable():
        fix = "remove it; in a shell, $(...) removes a final line break"
        problem = Problem("--request-key", "blanks around the key, or an invisible character", got, fix=fix)
    elif len(key) > _LONGEST_KEY:
        problem = Problem("--request-key", "a key that is too long", f"{len(key)} characters", f"<= {_LONGEST_KEY} characters")
    else:
        return
    raise UsageError("the request key cannot identify a run", [problem])


def _size_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    problems = []
    if spec.nodes > target.max_nodes:
        fix = "lower nodes, or raise the pool's max_nodes and run `pulumi up`"
        problems.append(Problem("nodes", "more nodes than the pool has", str(spec.nodes), f"1..{target.max_nodes}", fix))
    if spec.nproc_per_node is not None and spec.nproc_per_node > target.slots:
        problem = "more processes than GPUs" if target.gpus_per_node else "more processes than CPU slots"
        problems.append(Problem("nproc_per_node", problem, str(spec.nproc_per_node), f"1..{target.slots}"))
    if spec.gpus is not None:
        problems += _gpu_problems(spec.gpus, target)
    return problems


def _gpu_problems(gpus: str, target: JobTarget) -> list[Problem]:
    model, _, count = gpus.rpartition(":")
    has = f"{target.accelerator}:{target.gpus_per_node}" if target.accelerator else "no GPUs"
    wrong_model = bool(model) and model.lower() != (target.accelerator or "").lower()
    if int(count) != target.gpus_per_node or wrong_model:
        fix = "choose another pool with --pool, or correct gpus"
        return [Problem("gpus", "different from the pool's nodes", gpus, has, fix)]
    return []


def _name_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    problems, copied = [], copied_names(spec.data)
    for variable, logical in spec.secrets.items():
        if logical not in target.secrets:
            secrets = ", ".join(sorted(target.secrets)) or "none; add it to the stack's secrets"
            fix = did_you_mean(logical, target.secrets)
            problems.append(Problem(f"secrets.{variable}", "not a secret of the stack (value not shown)", allowed=secrets, fix=fix))
    for name, url in data_urls(spec.data).items():
        bucket = yard_bucket(url)
        if bucket is not None and bucket not in target.buckets:
            fix = did_you_mean(bucket, target.buckets)
            problems.append(Problem(f"data.{name}", "no such bucket in the stack", bucket, ", ".join(sorted(target.buckets)), fix))
        elif "://" not in url:
            problems.append(Problem(f"data.{name}", "not a URL", url, "yard://<bucket>/<path>, s3://, gs://, abfs://, file://"))
        elif name in copied and url.partition("://")[0] not in _COPIED_SCHEMES:
            fix = f"write {name}: URL, and let the script read GPUYARD_DATA_{name.upper()}"
            problems.append(Problem(f"data.{name}", "no node can copy it", url, ", ".join(f"{each}://" for each in _COPIED_SCHEMES), fix))
    return problems


def _limit_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    problems = []
    gpus, limits = spec.nodes * target.gpus_per_node, target.limits
    if limits.gpus is not None and gpus > limits.gpus:
        problems.append(Problem("nodes", "more GPUs than a job of this stack may use", str(gpus), f"<= {limits.gpus}"))
    cap = limits.usd_per_job
    if cap is not None and spec.max_cost_usd is not None and spec.max_cost_usd > cap:
        got, allowed = f"{spec.max_cost_usd:g} USD", f"<= {cap:g} USD (limits.usd_per_job of the stack)"
        problems.append(Problem("max_cost_usd", "above the stack's limit for one job", got, allowed))
    try:
        time_limit(spec, target, 0, 0)
    except UsageError as error:
        problems += error.problems
    return problems


def _share_problems(spec: JobSpec, target: JobTarget) -> list[Problem]:
    teams = target.teams if isinstance(target, BatchTarget) else []
    if not teams and spec.priority is not None:
        fix = "remove priority, or share a `batch` pool between teams (gpuyard:shares in the stack)"
        return [Problem("priority", "the pool starts jobs in the order of submission", str(spec.priority), "none", fix)]
    team = spec.labels.get("team")
    if teams and team not in teams:
        hint = did_you_mean(team, teams) if team else "add your team: labels: {team: NAME}"
        return [Problem("labels.team", "not a team that shares this pool", team or "none", ", ".join(teams), hint)]
    return []


def _expiry_problems(target: JobTarget, now: float) -> list[Problem]:
    """Return a problem if the pool's machines have expired already."""
    end = target.available_until
    if end is None or now < datetime.datetime.fromisoformat(end).timestamp():
        return []
    fix = "choose another pool with --pool, or change `expires` or the capacity block in the stack file and run `pulumi up`"
    return [Problem("pool", "its machines have expired", f"{target.pool}, expired {end}", fix=fix)]
