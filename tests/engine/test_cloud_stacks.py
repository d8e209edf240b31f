"""The dev and prod stacks of each cloud with the real engine and the strict stand-in provider: user commands and resulting resources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpuyard.stacks.cli.plan import plan
from gpuyard.training_jobs.target import parse_targets
from tests.engine.stack_cases import CASES, Case
from tests.fakes.pulumi_provider import project
from tests.fakes.pulumi_provider.record_state import stack

pytestmark = pytest.mark.engine
each_cloud = pytest.mark.parametrize("case", CASES, ids=lambda case: case.cloud)
one_cloud = pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.cloud, marks=[] if case.cloud == "aws" else pytest.mark.thorough) for case in CASES]
)


@one_cloud
def test_the_life_of_a_dev_stack(case: Case, tmp_path: Path, engine_environment: dict[str, str]) -> None:
    name = f"dev-{case.cloud}"
    yard = stack(tmp_path, engine_environment, name)
    preview = yard.json("preview")
    assert set(preview["changeSummary"]) == {"create"}
    assert not yard.resources(), "a preview creates nothing"
    planned = {step["urn"] for step in preview["steps"]}
    assert offline(yard, name) == planned

    told = yard.up(ok=False, env={"GPUYARD_STANDIN_FAIL_CREATE": "20"})
    assert "RequestLimitExceeded" in told
    assert "Traceback" not in told
    made = set(yard.resources())
    assert made
    yard.forget()
    yard.up()
    assert not made & {urn for _, urn in yard.calls("Create")}, "no resource is created twice"
    assert not yard.calls("Delete", "Update")
    assert planned == {resource["urn"] for resource in resources(yard) if not is_provider(resource)}
    targets = yard.json("stack", "output")["job_targets"]
    assert set(parse_targets(targets, "the export")) == case.dev
    objects = [each for each in yard.resources().values() if each["type"] == case.list_of_targets]
    assert [json.loads(case.content(each["inputs"])) for each in objects] == [targets] * bool(case.list_of_targets)

    only_one_pool_changes(case, yard)
    yard.pulumi("destroy", "--yes", "--skip-preview")
    assert yard.resources() == {}


def only_one_pool_changes(case: Case, yard: project.Project) -> None:
    """Edit one pool in the stack file. Check that an `up` changes only that pool and the list of targets."""
    file = yard.root / "stacks" / f"Pulumi.dev-{case.cloud}.yaml"
    text = file.read_text(encoding="utf-8")
    old, new = case.change
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    yard.forget()
    yard.up()
    changed = {urn for _, urn in yard.calls("Create", "Update", "Delete")}
    longer = [other for other in case.dev if other.startswith(f"{case.changed}-")]  # l4-spot is another pool than l4
    mine = {urn for urn in changed if belongs(urn, case.changed) and not any(belongs(urn, other) for other in longer)}
    assert mine or case.list_of_targets in {urn.split("$")[-1].partition("::")[0] for urn in changed}
    assert {urn.split("$")[-1].partition("::")[0] for urn in changed - mine} <= {case.list_of_targets}, changed - mine


def belongs(urn: str, pool: str) -> bool:
    """Return whether a resource belongs to a pool. A job service's children have its name before the pool's."""
    return f"-{pool}-" in f"-{urn.rpartition('::')[2]}"


@each_cloud
def test_the_life_of_a_prod_stack(case: Case, tmp_path: Path, engine_environment: dict[str, str]) -> None:
    name = f"prod-{case.cloud}"
    yard = stack(tmp_path, engine_environment, name)
    yard.up()
    assert offline(yard, name) == {resource["urn"] for resource in resources(yard) if not is_provider(resource)}
    outputs = yard.json("stack", "output")
    assert set(parse_targets(outputs["job_targets"], "the export")) == case.prod
    yard.up("--expect-no-changes")
    yard.pulumi("destroy", "--yes", "--skip-preview")
    kept = yard.resources()
    assert kept, "on_destroy: keep"
    assert [each["type"] for each in kept.values() if not each["type"].startswith(case.kept)] == []


@one_cloud
def test_a_secret_stays_secret(case: Case, tmp_path: Path, engine_environment: dict[str, str]) -> None:
    """A secret of a team's own program appears in no state, output, log or boot script."""
    files = {"Pulumi.yaml": f"name: own\nruntime: python\nmain: program\nconfig:\n{case.config}"}
    yard = project.make(tmp_path, engine_environment, {**files, "program/__main__.py": case.own_program})
    yard.pulumi("stack", "init", "test")
    yard.pulumi("config", "set", "--secret", "hidden", case.secret)
    yard.up()
    assert case.secret in json.dumps([each["inputs"] for each in yard.resources().values()]), (
        "the secret is in no resource, so the test proves nothing"
    )
    assert (yard.json("stack", "output") == {"job_targets": "[secret]"}) is case.secret_targets
    state = yard.pulumi("stack", "export")
    assert case.secret not in state + "".join(yard.output)
    for each in yard.resources().values():
        for script in case.boot(each["inputs"]):
            assert case.secret not in script


def offline(yard: project.Project, name: str) -> set[str]:
    """Return the resources in `gpuyard plan`, which leaves out the stack itself."""
    found = plan(name, yard.root)
    assert not found.problems
    urns = [resource.urn for resource in found.resources]
    assert len(set(urns)) == len(urns)
    return {*urns, f"urn:pulumi:{name}::gpuyard::pulumi:pulumi:Stack::gpuyard-{name}"}


def is_provider(resource: dict[str, Any]) -> bool:
    """Return whether the engine created the resource itself, as a default provider."""
    return str(resource["type"]).startswith("pulumi:providers")


def resources(yard: project.Project) -> list[dict[str, Any]]:
    """Return the resources in the state."""
    return list(json.loads(yard.pulumi("stack", "export"))["deployment"]["resources"])
