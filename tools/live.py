"""`make live`: create a stack in a real account of a cloud, check it, run short jobs on its pools, destroy it, and look for leftovers.

It costs money, so it prints the price and asks before it starts. GPUYARD_LIVE_STACK names the stack, which must not be up. It is destroyed
at the end, also after a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from gpuyard.stacks.cli.pulumi_cli import find_pulumi
from gpuyard.training_jobs.clouds.aws import AwsClients, aws_clients
from gpuyard.training_jobs.clouds.azure import AzureClients, azure_clients
from gpuyard.training_jobs.clouds.gcp import GcpClients, gcp_clients
from tools import live_azure, live_gcp

__all__ = ["JOBS", "LiveError", "Tools", "leftovers", "live", "main"]

ROOT = Path(__file__).resolve().parents[1]
_MINUTES = 15
_HOURS = 1.0
"""Upper bound of the time during which all nodes are on."""
# SIGTERM, as a service sends it when it takes a machine. Process 1 of the container (Docker's init on Batch) passes it to launch. The
# kernel drops a signal from inside to a process 1 without a handler, but not to Docker's init, which blocks and awaits its signals.
_PREEMPT = "import os, signal, time; os.environ['GPUYARD_ATTEMPT'] != '1' or [os.kill(1, signal.SIGTERM), time.sleep(90)]"
JOBS: Mapping[str, Mapping[str, Any]] = {
    "one-node": {"nodes": 1, "preflight": "required", "command": ["python3", "-c", "print('hello from a node')"]},
    "two-nodes": {"nodes": 2, "preflight": "required", "command": ["python3", "-c", "print('hello from a node')"]},
    "preemption": {"nodes": 1, "preflight": "skip", "retries": {"preempted": 1}, "command": ["python3", "-c", _PREEMPT]},
}
"""Job name -> keys of its job file. Each job runs on each pool; `two-nodes` needs a pool with max_nodes of 2 or more."""
_ATTEMPTS = {"preemption": 2}
_KEPT = (":job-definition/",)
"""Parts of ARNs that a destroy leaves on purpose: they cost nothing (docs/aws.md, Expiry and destroy)."""
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class LiveError(Exception):
    """A step failed. The message says which and why."""


class Tools(NamedTuple):
    """The functions and clients that the steps use. Tests replace them."""

    run: Run
    """Run a command in the checkout and return its exit code and stdout; stderr goes to the terminal."""
    ask: Callable[[str], str]
    """Print a question and return the answer."""
    aws: Callable[[str], AwsClients]
    """Return the clients of a region."""
    azure: Callable[[], AzureClients]
    google: Callable[[str, str], GcpClients]
    """Return the clients of a project and region."""
    say: Callable[[str], None]
    key: str
    """Request key of the jobs, new for each call of `make live`."""


def live(stack: str, tools: Tools) -> None:
    """Run every step. Raises LiveError for the first that failed, after the stack was destroyed."""
    plan = _json(tools, "gpuyard", "plan", "--stack", stack, "--json")
    _confirm(stack, plan, tools)
    failure: LiveError | None = None
    try:
        _step(tools, "pulumi", "up", "--yes", "--stack", stack)
        _step(tools, "gpuyard", "doctor", "--stack", stack)
        for pool, target in _json(tools, "pulumi", "stack", "output", "job_targets", "--json", "--stack", stack).items():
            _run_jobs(stack, pool, target, tools)
    except LiveError as error:
        failure = error
    _step(tools, "pulumi", "destroy", "--yes", "--stack", stack)
    if found := _left(stack, plan, tools):
        raise LiveError("\n  ".join(["left after the destroy, remove by hand:", *found]))
    if failure is not None:
        raise failure
    tools.say("every step passed, and nothing is left")


def _left(stack: str, plan: Mapping[str, Any], tools: Tools) -> list[str]:
    """Return the ids of the stack's resources that still cost money."""
    tag = f"{plan['project']}/{stack}"
    if plan["clouds"] == ["azure"]:
        subscription = _step(tools, "pulumi", "config", "get", "azure-native:subscriptionId", "--stack", stack).strip()
        return live_azure.leftovers(tag, subscription, tools.azure())
    if plan["clouds"] == ["gcp"]:
        project = _step(tools, "pulumi", "config", "get", "gcp:project", "--stack", stack).strip()
        return live_gcp.leftovers(tag, project, tools.google(project, plan["region"]))
    return leftovers(tag, tools.aws(plan["region"]))


def leftovers(stack: str, aws: AwsClients) -> list[str]:
    """Return the ARNs with the stack's tag that cost money. Terminated machines and keys scheduled for deletion do not count."""
    return [arn for arn in _tagged(stack, aws) if not any(part in arn for part in _KEPT) and not _is_ending(arn, aws)]


def _tagged(stack: str, aws: AwsClients) -> Iterator[str]:
    body: dict[str, Any] = {"TagFilters": [{"Key": "stack", "Values": [stack]}]}
    while True:
        page = aws.call("resourcegroupstaggingapi", "get_resources", body)
        yield from (str(each["ResourceARN"]) for each in page["ResourceTagMappingList"])
        if not page.get("PaginationToken"):
            return
        body["PaginationToken"] = page["PaginationToken"]


def _is_ending(arn: str, aws: AwsClients) -> bool:
    """Return whether AWS is deleting a resource that it still lists."""
    name = arn.rpartition("/")[2]
    if ":kms:" in arn:
        return bool(aws.call("kms", "describe_key", {"KeyId": arn})["KeyMetadata"]["KeyState"] == "PendingDeletion")
    if ":instance/" in arn:
        ids = [{"Name": "instance-id", "Values": [name]}]
        found = aws.call("ec2", "describe_instances", {"Filters": ids})["Reservations"]
        return all(machine["State"]["Name"] == "terminated" for each in found for machine in each["Instances"])
    return False


def _confirm(stack: str, plan: Mapping[str, Any], tools: Tools) -> None:
    """Print the price and ask. Raises LiveError unless the answer is the stack's name."""
    most = plan["money"]["full"]["high"]
    if most is None:
        raise LiveError("the price of a pool is unknown, so the cost has no upper bound; set price_usd_per_hour")
    tools.say(f"{stack}: creates {len(plan['resources'])} resources in {plan['region']}, runs {len(JOBS)} jobs on each pool, destroys all")
    tools.say(f"cost: about {most * _HOURS:.2f} USD at most: every node on for {_HOURS:g} h; each job stops after {_MINUTES} minutes")
    if tools.ask(f"Type {stack} to start: ") != stack:
        raise LiveError("not started")


def _run_jobs(stack: str, pool: str, target: Mapping[str, Any], tools: Tools) -> None:
    labels = {"labels": {"team": target["teams"][0]}} if target.get("teams") else {}
    for name, keys in JOBS.items():
        if keys["nodes"] <= target["max_nodes"]:
            _run_job(stack, pool, name, {**keys, **labels}, tools)
        else:
            tools.say(f"{pool}: {name} needs {keys['nodes']} nodes, the pool has {target['max_nodes']}")


def _run_job(stack: str, pool: str, name: str, keys: Mapping[str, Any], tools: Tools) -> None:
    """Run one job and check its outcome and the number of its attempts."""
    job = {"name": f"live-{name}", "pool": pool, "launcher": "none", "timeout": f"{_MINUTES}m", "queue_timeout": "40m", **keys}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.yaml"
        file.write_text(json.dumps(job), encoding="utf-8")
        made = _json(tools, "gpuyard", "submit", str(file), "--stack", stack, "--request-key", f"{tools.key}-{pool}-{name}", "--json")
        _step(tools, "gpuyard", "wait", made["run_id"], "--stack", stack)
        status = _json(tools, "gpuyard", "status", made["run_id"], "--stack", stack, "--json")
    attempts, wanted = len(status["attempts"]), _ATTEMPTS.get(name, 1)
    if attempts != wanted:
        raise LiveError(f"{pool}: {name}: ended after {attempts} attempts, expected: {wanted}")
    tools.say(f"{pool}: {name}: ok")


def _json(tools: Tools, *command: str) -> dict[str, Any]:
    return dict(json.loads(_step(tools, *command)))


def _step(tools: Tools, *command: str) -> str:
    """Run a command and return its output. Raises LiveError if it failed."""
    done = tools.run(command)
    if done.returncode:
        raise LiveError(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    program = find_pulumi() if command[0] == "pulumi" else Path(sys.executable).with_name(command[0])
    return subprocess.run([str(program), *command[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)


def main() -> int:
    """Run `make live`. Return 1 if a step failed or GPUYARD_LIVE_STACK names no stack."""
    stack = os.environ.get("GPUYARD_LIVE_STACK")
    try:
        if not stack:
            raise LiveError("GPUYARD_LIVE_STACK: not set; name a stack of a test account, such as dev-aws")
        live(stack, Tools(_run, input, aws_clients, azure_clients, gcp_clients, print, f"live-{int(time.time())}"))
    except LiveError as error:
        print(f"make live: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
