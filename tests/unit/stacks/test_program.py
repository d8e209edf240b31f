"""The stock program, recorded: the components and exports that its settings declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from gpuyard.components.local.gpus import Gpus
from gpuyard.stacks import program
from gpuyard.training_jobs.target import LocalTarget, parse_targets

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.components.local.gpu_pool.find_gpus", Gpus)


def config(**changes: Any) -> dict[str, str]:
    """Return the configuration of the committed stack `local`, as Pulumi passes it to the program."""
    stack = yaml.safe_load((CHECKOUT / "stacks" / "Pulumi.local.yaml").read_text())["config"]
    settings = {**{key.removeprefix("gpuyard:"): value for key, value in stack.items()}, "cloud": "local", **changes}
    return {f"gpuyard:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}


def test_the_committed_local_stack(record: Any, tmp_path: Path) -> None:
    recorded = record(program.run, config=config())
    yard = f"{tmp_path}/.yard"
    assert recorded.exports["yard"] == {
        "cloud": "local",
        "owner": None,
        "expires": None,
        "pools": {"local": {"max_nodes": 2, "service": "local"}},
        "buckets": {"runs": f"file://{yard}/buckets/runs"},
    }
    assert recorded.exports["job_targets"]["local"]["pool_dir"] == f"{yard}/pools/local"
    target = parse_targets(recorded.exports["job_targets"], "the export")["local"]
    assert isinstance(target, LocalTarget)
    assert target.slots_per_node == 2


def test_a_preview_has_unknown_targets_and_creates_nothing(record: Any, tmp_path: Path) -> None:
    recorded = record(program.run, preview=True, config=config())
    assert recorded.unknown == {"job_targets", "yard"}
    assert list(tmp_path.iterdir()) == []


def test_every_setting_reaches_its_component(record: Any, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    recorded = record(
        program.run,
        config=config(
            owner="me",
            expires="never",
            network={"cidr": "127.9.0.0/24"},
            buckets={"data": {"existing": "corpus", "jobs": "read"}, "scratch": {}, "runs": {"jobs": "write"}},
            pools={"a": {"max_nodes": 1, "service": "local"}, "b": {"max_nodes": 3, "service": "local", "machine": "cpu"}},
            secrets={"wandb": "file:/run/wandb"},
            limits={"usd_per_job": 5},
            tags={"team": "nlp"},
        ),
    )
    targets = recorded.exports["job_targets"]
    assert set(targets) == {"a", "b"}
    assert targets["b"]["max_nodes"] == 3
    assert set(targets["a"]["buckets"]) == {"data", "runs"}, "a target lists only the buckets that its jobs may use"
    assert targets["a"]["secrets"] == {"wandb": "file:/run/wandb"}
    assert targets["a"]["limits"] == {"gpus": None, "usd_per_job": 5.0}
    pool = recorded.inputs("pulumi-python:dynamic/gpuyard-local:GpuPool", "a-directory")
    assert json.loads(pool["content"])["nodes"][0]["address"] == "127.9.0.10"
    components = [request for request in recorded.resources.values() if request.type.startswith("gpuyard-local:")]
    assert len(components) == 7
    for request in components:
        assert dict(request.object["tags"]) == {"owner": "me", "expires": "never", "team": "nlp"}


def test_wrong_settings_end_the_program_before_any_component(record: Any, tmp_path: Path) -> None:
    with pytest.raises(pulumi.RunError, match=r"(?s)the settings of stack local are not valid.*gpuyard:pools.*gpuyard:buckets"):
        record(program.run, config=config(pools={}, buckets={}))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_contract_fails_at_up(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported targets are validated with the model of training_jobs, so a mismatch fails before any job is submitted."""
    monkeypatch.setattr("gpuyard.components.local.job_service.JobService._target", lambda *_: {"version": 1, "kind": "local"})
    with pytest.raises(pulumi.RunError, match="pool_dir: required key is missing"):
        record(program.run, config=config())


def test_pulumi_yaml_declares_no_type_and_only_known_keys() -> None:
    """With typed keys, the CLI would report only the first error, before the program runs."""
    from gpuyard.stacks.settings import StackSettings

    project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())
    assert (project["main"], project["stackConfigDir"]) == ("stacks", "stacks")
    for key, entry in project["config"].items():
        assert set(entry) == {"description", "default"}
        assert key.removeprefix("gpuyard:") in StackSettings.model_fields
