"""StackSettings: every error of a stack file at once, with what was got, what is allowed and the fix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.settings import StackSettings, load
from training_jobs.errors import UsageError

GOOD: dict[str, Any] = {
    "cloud": "local",
    "buckets": {"runs": {"jobs": "write", "on_destroy": "delete"}},
    "pools": {"local": {"max_nodes": 2, "service": "local"}},
}


def config(**changes: Any) -> dict[str, str]:
    """Settings as Pulumi hands them over: words as they are, everything else as JSON."""
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return {f"gpuyard:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def problems(settings: dict[str, str], secret: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(settings, secret, stack="dev")
    assert str(caught.value).startswith("the settings of stack dev are not valid\n")
    return [str(problem) for problem in caught.value.problems]


def test_the_least_there_is() -> None:
    settings = load(config(), stack="dev")
    assert (settings.run_bucket, settings.read_buckets, settings.all_tags) == ("runs", [], {})
    assert settings.pools["local"].machine == "auto"
    assert settings.network.cidr == "127.77.0.0/24"


def test_everything_there_is() -> None:
    settings = load(
        config(
            owner="ml@acme.io",
            expires="2027-03-31",
            network={"cidr": "127.9.0.0/16"},
            buckets={
                "data": {"existing": "/data", "jobs": "read"},
                "scratch": {},
                "runs": {"jobs": "write"},
            },
            secrets={"wandb": "file:/run/secrets/wandb"},
            limits={"gpus": 8, "usd_per_job": 12.5},
            tags={"team": "nlp"},
        )
        | {"aws:region": "us-east-1", "local:root": "/srv"},
        stack="dev",
    )
    assert settings.read_buckets == ["data"]
    assert settings.all_tags == {"team": "nlp", "owner": "ml@acme.io", "expires": "2027-03-31"}
    assert settings.limits.usd_per_job == 12.5


def test_words_are_the_fields_that_are_no_mapping() -> None:
    """A word must not go through JSON: an owner named 007 or null is an owner."""
    settings = load(config(owner="null", expires="never"), stack="dev")
    assert (settings.owner, settings.expires) == ("null", "never")
    assert load(config(owner="007"), stack="dev").owner == "007"
    schema = StackSettings.model_json_schema()["properties"]
    words = [key for key, field in schema.items() if not ({"$ref", "additionalProperties"} & field.keys())]
    assert sorted(words) == ["cloud", "expires", "owner"]


def test_every_error_at_once() -> None:
    found = problems(
        config(
            cloud="aws",
            expires="2027-03-31 00:00:00 +0000 UTC",  # what YAML makes of an unquoted date
            network=3,
            limits={"gpu": 1},
            buckets={"runs": {"jobs": "on"}, "Data": {"on_destory": "keep"}},
            pools={"l4": {"max_nods": 2, "service": "local", "zone": "a", "capacity": "spot"}},
        )
        | {"gpuyard:bucket": "{}"}
    )
    expected = [
        "gpuyard:cloud: wrong value, got 'aws' (str), allowed: 'local'",
        "gpuyard:expires: wrong value, got '2027-03-31 00:00:00 +0000 UTC' (str), allowed: a quoted date such as \"2027-03-31\", or never",
        "gpuyard:network: wrong value, got 3 (int)",
        "gpuyard:limits.gpu: unknown key, allowed: gpus, usd_per_job; did you mean 'gpus'?",
        "gpuyard:buckets.runs.jobs: wrong value, got 'on' (str), allowed: 'read' or 'write'",
        "gpuyard:buckets.Data: wrong value, got 'Data' (str), allowed: a name of a-z, 0-9 and -",
        "gpuyard:buckets.Data.on_destory: unknown key, allowed: existing, jobs, on_destroy; did you mean 'on_destroy'?",
        "gpuyard:pools.l4.max_nodes: required key is missing; number of nodes",
        "gpuyard:pools.l4.max_nods: unknown key, allowed: capacity, machine, max_nodes, service, zone; did you mean 'max_nodes'?",
        "gpuyard:pools.l4.zone: wrong value, got 'a' (str), allowed: nothing where service is local",
        "gpuyard:pools.l4.capacity: wrong value, got 'spot' (str), allowed: 'on_demand'",
        "gpuyard:bucket: unknown key",
        "gpuyard:buckets: jobs: write, got none, allowed: exactly one, the run bucket; give one bucket `jobs: write`",
    ]
    assert len(found) == len(expected)
    for text in expected:
        assert any(line.startswith(text) for line in found), (text, found)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pools": None}, "gpuyard:pools: required key is missing"),
        ({"buckets": None}, "gpuyard:buckets: required key is missing"),
        ({"pools": "two"}, "gpuyard:pools: wrong value, got 'two', allowed: a mapping in YAML; pools by name"),
        ({"pools": {"p": {"max_nodes": 1.5, "service": "local"}}}, "gpuyard:pools.p.max_nodes: wrong value, got 1.5 (float)"),
        (
            {"buckets": {"a": {"jobs": "write"}, "b": {"jobs": "write"}}},
            "gpuyard:buckets: jobs: write, got a, b, allowed: exactly one",
        ),
        (
            {"buckets": {"a": {"jobs": "write", "existing": "/a", "on_destroy": "delete"}}},
            "gpuyard:buckets.a.on_destroy: an existing bucket is never destroyed; remove on_destroy",
        ),
    ],
)
def test_one_error_is_one_line(changes: dict[str, Any], told: str) -> None:
    found = problems(config(**changes))
    assert len(found) == 1
    assert found[0].startswith(told)


def test_what_may_be_a_secret_is_not_shown() -> None:
    found = problems(config(secrets={"wandb": "hunter2"}))
    assert found[0].startswith("gpuyard:secrets.wandb: wrong value, got (secret), allowed: a reference to the secret, file:")
    found = problems(config(owner="x", pools={"p": {"service": "hunter2", "max_nodes": 1}}), secret=("gpuyard:pools",))
    assert "hunter2" not in " ".join(found)
