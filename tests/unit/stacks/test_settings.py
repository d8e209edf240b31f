"""StackSettings: all errors of a stack file at once, each with the value got, the values allowed and the fix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuyard.stacks.settings import StackSettings, load
from gpuyard.training_jobs.errors import UsageError

GOOD: dict[str, Any] = {
    "cloud": "local",
    "buckets": {"runs": {"jobs": "write", "on_destroy": "delete"}},
    "pools": {"local": {"max_nodes": 2, "service": "local"}},
}


def config(**changes: Any) -> dict[str, str]:
    """Return settings as Pulumi passes them to a program: strings as they are, everything else as JSON."""
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return {f"gpuyard:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def problems(settings: dict[str, str], secret: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(settings, secret, stack="dev")
    assert str(caught.value).startswith("the settings of stack dev are not valid\n")
    return [str(problem) for problem in caught.value.problems]


def test_the_shortest_valid_settings() -> None:
    settings = load(config(), stack="dev")
    assert (settings.run_bucket, settings.read_buckets, settings.all_tags) == ("runs", [], {})
    assert settings.pools["local"].machine == "auto"
    assert settings.network.cidr is None


def test_settings_with_every_key() -> None:
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


def test_string_keys_are_the_fields_that_are_no_mapping() -> None:
    """String values are not parsed as JSON, so an owner named 007 or null stays a string."""
    settings = load(config(owner="null", expires="never"), stack="dev")
    assert (settings.owner, settings.expires) == ("null", "never")
    assert load(config(owner="007"), stack="dev").owner == "007"
    schema = StackSettings.model_json_schema()["properties"]
    words = [key for key, field in schema.items() if "string" in {part.get("type") for part in (field, *field.get("anyOf", []))}]
    assert sorted(words) == ["cloud", "expires", "owner"]


def test_every_error_at_once() -> None:
    found = problems(
        config(
            cloud="mars",
            expires="2027-03-31 00:00:00 +0000 UTC",  # what YAML makes of an unquoted date
            network=3,
            limits={"gpu": 1},
            buckets={"runs": {"jobs": "on"}, "Data": {"on_destory": "keep"}},
            pools={"l4": {"max_nods": 2, "service": "local", "zone": "a", "capacity": "spot"}},
        )
        | {"gpuyard:bucket": "{}"}
    )
    expected = [
        "gpuyard:cloud: wrong value, got 'mars', allowed: 'local', 'aws', 'gcp' or 'azure'",
        "gpuyard:expires: wrong value, got '2027-03-31 00:00:00 +0000 UTC', allowed: a quoted date such as \"2027-03-31\", or never",
        "gpuyard:network: wrong value, got 3",
        "gpuyard:limits.gpu: unknown key, allowed: gpus, usd_per_job; did you mean 'gpus'?",
        "gpuyard:buckets.runs.jobs: wrong value, got 'on', allowed: 'read' or 'write'",
        "gpuyard:buckets.Data: wrong value, got 'Data', allowed: a name of a-z, 0-9 and -",
        "gpuyard:buckets.Data.on_destory: unknown key, allowed: access_logs, existing, existing_key, jobs, on_destroy, open_to; "
        "did you mean 'on_destroy'?",
        "gpuyard:pools.l4.max_nodes: required key is missing; largest number of nodes",
        "gpuyard:pools.l4.max_nods: unknown key, allowed: accelerator, capacity, disk_gib, encrypt_between_nodes, fabric_floor, image, "
        "keep_alive_minutes, machine, max_nodes, max_replacements_per_hour, "
        "min_nodes, network_isolation, price_usd_per_hour, service, web_access, zone; "
        "did you mean 'max_nodes'?",
        "gpuyard:pools.l4.zone: wrong value, got 'a', allowed: no zone for service: local",
        "gpuyard:pools.l4.capacity: wrong value, got 'spot', allowed: on_demand for service: local",
        "gpuyard:bucket: unknown key",
        "gpuyard:buckets: not one bucket with jobs: write, got none, allowed: exactly one, the run bucket; set `jobs: write` on one bucket",
    ]
    assert len(found) == len(expected)
    for text in expected:
        assert any(str(line).startswith(text) for line in found), (text, found)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pools": None}, "gpuyard:pools: required key is missing"),
        ({"buckets": None}, "gpuyard:buckets: required key is missing"),
        ({"pools": "two"}, "gpuyard:pools: wrong value, got 'two', allowed: a mapping in YAML; pools by name"),
        ({"pools": {"p": {"max_nodes": 1.5, "service": "local"}}}, "gpuyard:pools.p.max_nodes: wrong value, got 1.5"),
        (
            {"buckets": {"a": {"jobs": "write"}, "b": {"jobs": "write"}}},
            "gpuyard:buckets: not one bucket with jobs: write, got a, b, allowed: exactly one",
        ),
        (
            {"buckets": {"a": {"jobs": "write", "existing": "/a", "on_destroy": "delete"}}},
            "gpuyard:buckets.a.on_destroy: `pulumi destroy` keeps every existing bucket; remove on_destroy",
        ),
    ],
)
def test_one_error_is_one_line(changes: dict[str, Any], expected: str) -> None:
    found = problems(config(**changes))
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_values_that_may_be_secrets_are_hidden() -> None:
    found = problems(config(secrets={"wandb": "hunter2"}))
    assert found[0].startswith(
        "gpuyard:secrets.wandb: wrong value, got (secret), allowed: a reference to the secret, never the secret's value: file:"
    )
    found = problems(config(owner="x", pools={"p": {"service": "hunter2", "max_nodes": 1}}), secret=("gpuyard:pools",))
    assert "hunter2" not in " ".join(found)


AWS: dict[str, Any] = {
    "cloud": "aws",
    "owner": "ml@acme.io",
    "expires": "2027-03-31",
    "network": {"cidr": "10.40.0.0/16", "zones": ["us-east-1a", "us-east-1b"]},
    "buckets": {"runs": {"jobs": "write"}},
}
L4: dict[str, Any] = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
BLOCK = {"mode": "capacity_block", "reservation": "cr-1", "ends": "2026-12-19T11:30:00Z"}


def aws(pool: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    merged = {key: value for key, value in {**L4, **(pool or {})}.items() if value is not None}
    return config(**{**AWS, "pools": {"l4": merged}, **changes}) | {"aws:region": "us-east-1"}


@pytest.mark.parametrize("subject", ["repo:acme/nlp:ref:refs/heads/*", "repo:acme/nlp:*", "repo:acme/nlp:pull_request"])
def test_submitters_of_unreviewed_code_need_a_reason(subject: str) -> None:
    found = problems(aws(submitters=["repo:acme/nlp:ref:refs/heads/main", subject]))
    assert found == [
        f"gpuyard:submitters.1: admits code that nobody has reviewed, got '{subject}', allowed: an exact branch or environment; "
        "list exact branches or environments, or write {subject: ..., reason: ...}"
    ]
    settings = load(aws(submitters=[{"subject": subject, "reason": "all branches are protected"}]), stack="dev")
    assert settings.subjects == [subject]
    assert "submitters" in problems(aws(submitters=[{"subject": subject, "reason": "why"}]))[0]


def test_the_keys_that_say_where_resources_go_are_required() -> None:
    without = {key: value for key, value in aws(pools={"l4": 3}).items() if key != "aws:region"}
    assert "aws:region: required key is missing, allowed: a region, such as us-east-1; add `aws:region: us-east-1`" in problems(without)
    assert len(problems(without)) == 2  # with the other problems of the file
    gcp = [text.partition(":")[0] + ":" + text.split(":")[1] for text in problems(config(cloud="gcp"))]
    assert {"gcp:project", "gcp:region"} <= set(gcp)
    assert any(text.startswith("azure-native:location: required key is missing") for text in problems(config(cloud="azure")))


def test_numbers_that_the_cli_wrote_as_text_are_numbers() -> None:
    """`pulumi config set --path gpuyard:pools.l4.price_usd_per_hour 4.60` writes "4.60"."""
    settings = load(
        aws({"price_usd_per_hour": "4.60", "max_nodes": "2"}, budget={"usd_per_month": "1500.50", "alert_at_percent": ["50", "80"]}),
        stack="dev",
    )
    assert (settings.pools["l4"].price_usd_per_hour, settings.pools["l4"].max_nodes) == (4.6, 2)
    assert settings.budget is not None
    assert (settings.budget.usd_per_month, settings.budget.alert_at_percent) == (1500.5, [50, 80])
    flex = {"mode": "flex_start", "max_hours": "24"}
    pools = {"l4": {"machine": "g2-standard-48", "zone": "us-central1-a", "max_nodes": 1, "service": "vms", "capacity": flex}}
    where = {"gcp:project": "p", "gcp:region": "us-central1"}
    gcp = load(aws(cloud="gcp", pools=pools, network={"zones": ["us-central1-a"]}) | where, stack="dev")
    assert gcp.pools["l4"].capacity.max_hours == 24  # type: ignore[union-attr]
    assert "got 'four'" in problems(aws({"price_usd_per_hour": "four"}))[0]
    assert "got '010'" in problems(aws({"max_nodes": "010"}))[0]


def test_a_yard_on_aws() -> None:
    settings = load(
        aws(
            {"machine": "p5.48xlarge", "capacity": BLOCK}, budget={"usd_per_month": 1500}, secrets={"wandb": "arn:aws:secretsmanager:a:b:c"}
        ),
        stack="dev",
    )
    assert settings.pools["l4"].mode == "capacity_block"
    assert settings.pools["l4"].row("aws").gpus == 8
    assert settings.budget is not None
    assert settings.budget.alert_at_percent == [50, 80, 100]
    by_model = load(aws({"machine": None, "accelerator": "h100:8"}), stack="dev").pools["l4"]
    assert by_model.row("aws").name == "p5.48xlarge"
    existing = load(aws(network={"existing": {"vpc_id": "vpc-1", "subnet_ids": {"us-east-1a": "subnet-1"}}}), stack="dev")
    assert existing.network.known_zones == ["us-east-1a"]


@pytest.mark.parametrize(
    ("pool", "key", "expected"),
    [
        ({"capacity": "spot"}, "capacity", "on_demand, reservation, capacity_block for several nodes with service: batch"),
        ({"capacity": "spot"}, "capacity", "for spot with several nodes use service: sagemaker or service: vms, or set max_nodes: 1"),
        ({"service": "sagemaker", "capacity": BLOCK}, "capacity", "allowed: on_demand, spot for service: sagemaker"),
        ({"capacity": "spott"}, "capacity", "on_demand, spot or a mapping with mode: reservation or capacity_block"),
        ({"capacity": {"mode": "block"}}, "capacity", "a mapping with mode: reservation or capacity_block"),
        ({"capacity": {**BLOCK, "ends": "2026-12-19"}}, "capacity.ends", 'a quoted time in UTC such as "2026-12-19T11:30:00Z"'),
        ({"machine": "g6.12xlarg"}, "machine", "a machine of the catalogue; did you mean g6.12xlarge"),
        ({"machine": None}, "accelerator", "one of machine (p5.48xlarge) and accelerator (H100:8)"),
        ({"accelerator": "L4:4"}, "accelerator", "only one of machine and accelerator"),
        ({"machine": None, "accelerator": "H100"}, "accelerator", "a GPU model and the number of GPUs per node, such as H100:8"),
        ({"machine": None, "accelerator": "H999:8"}, "accelerator", "allowed: one of "),
        ({"zone": None}, "zone", "got nothing, allowed: one zone for service: batch; set zone"),
        ({"zone": "us-east-1c"}, "zone", "allowed: a zone of the network: us-east-1a, us-east-1b"),
        ({"service": "local"}, "service", "allowed: batch, sagemaker, vms for cloud: aws"),
        ({"min_nodes": 3}, "max_nodes", "allowed: min_nodes (3) or more"),
    ],
)
def test_an_impossible_pool_is_one_problem_with_the_alternatives(pool: dict[str, Any], key: str, expected: str) -> None:
    found = problems(aws(pool))
    assert len(found) == 1, found
    assert found[0].startswith(f"gpuyard:pools.l4.{key}: wrong value, got ")
    assert expected in found[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"owner": None, "expires": None}, ["gpuyard:owner: required on a cloud", "gpuyard:expires: required on a cloud"]),
        (
            {"network": {"zones": ["us-east-1a"], "cidr": "8.8.0.0/16"}},
            ["gpuyard:network.cidr: wrong value, got '8.8.0.0/16', allowed: a priv"],
        ),
        ({"network": {"zones": ["us-east-1a"] * 2}}, ["gpuyard:network.zones: wrong value"]),
        (
            {"network": {"existing": {"vpc_id": "vpc-1", "subnet_ids": {"us-east-1a": "s"}}, "egress": "nat"}},
            ["gpuyard:network: keys of a new network cannot be set with `existing`, got egress, allowed: only existing; remove egress"],
        ),
        ({"pins": {"job_image": "repo/train:latest"}}, ["gpuyard:pins.job_image: wrong value"]),
        (
            {"secrets": {"wandb": "file:/run/wandb"}},
            ["gpuyard:secrets.wandb: wrong value, got (secret), allowed: a reference to the secret, never"],
        ),
    ],
)
def test_an_impossible_yard(changes: dict[str, Any], expected: list[str]) -> None:
    found = problems(aws(**changes))
    assert len(found) == len(expected), found
    assert all(str(line).startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_keys_without_effect_on_local_are_refused() -> None:
    found = problems(config(budget={"usd_per_month": 1}, pins={}, network={"zones": ["a"]}))
    assert sorted(line.partition(":")[2].partition(":")[0] for line in found) == ["budget", "network.zones", "pins"]


def test_existing_key_needs_an_existing_bucket() -> None:
    key = "arn:aws:kms:us-east-1:111122223333:key/1"
    buckets = {"runs": {"jobs": "write"}, "data": {"existing": "acme", "existing_key": key, "jobs": "read"}}
    assert load(aws(buckets=buckets), stack="dev").buckets["data"].existing_key == key
    found = problems(aws(buckets={"runs": {"jobs": "write", "existing_key": key}}))
    assert found == ["gpuyard:buckets.runs.existing_key: only for an existing bucket; remove existing_key, or set existing"]
