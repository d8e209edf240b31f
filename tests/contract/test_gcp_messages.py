"""Field names and enum values of the recorded GCP resources are those of Google's own API messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gpuyard.components.planning.recording import Recording, properties
from tests.fakes.pulumi_provider import gcp_messages
from tests.helpers.committed_stacks import YARDS, recorded
from tests.helpers.gcp_sample_pools import CAPACITIES
from tests.helpers.gcp_sample_yard import VERTEX, VMS, declare
from tests.unit.conftest import record

__all__ = ["record"]  # a fixture of the unit tests, used here too

# Their keys are no fields: users choose them, or the SDK marks a secret.
_MAPS = ("content", "labels", "metadata", "userLabels", "attributeMapping", "headers")
# Fields that the provider names itself: parts of the URL, and its own names for the API's.
_OWN = {
    "accountId", "allUpdatesRule", "allows", "billingAccount", "content", "deleteDefaultRoutesOnCreate", "denies", "forceDestroy",
    "instanceGroupManager", "keyRing", "lifecycleRules", "location", "managedZone", "maxSurgeFixed", "maxUnavailableFixed",
    "permissions", "project", "protocol", "region", "repositoryId", "roleId", "router", "serviceAccount", "specificReservation",
    "deletionProtection", "waitForInstances", "withState", "workloadIdentityPoolId", "workloadIdentityPoolProviderId", "zone",
}  # fmt: skip
_RENAMED = {("gcp:compute/instanceTemplate:InstanceTemplate", "type"): "consumeReservationType"}


def broken(token: str, value: Any) -> Iterator[str]:
    """Yield a message for each field that the API's message does not have, and each value that its enum does not have."""
    known = gcp_messages.fields()[token]
    for key, item in value.items() if isinstance(value, dict) else ():
        names = {key, key.removesuffix("s"), key.removesuffix("es"), key.removesuffix("ies") + "y", _RENAMED.get((token, key), key)}
        fields = [known[name] for name in names if name in known]
        if not fields and key not in _OWN:
            yield f"{token}: no field {key}"
        values = {each for field in fields for each in field}
        words = [word for word in (item if isinstance(item, list) else [item]) if isinstance(word, str)]
        yield from (f"{token}.{key}: {word} is no value of the enum" for word in words if values and word not in values)
        if key not in _MAPS:
            yield from broken(token, item)
    for item in value if isinstance(value, list) else ():
        yield from broken(token, item)


def all_broken(recording: Recording) -> list[str]:
    requests = [each for each in recording.resources.values() if each.type in gcp_messages.MESSAGES]
    assert requests
    return [message for each in requests for message in broken(each.type, properties(each.object))]


@pytest.mark.parametrize("stack", YARDS["gcp"])
def test_the_committed_stacks(stack: str) -> None:
    assert all_broken(recorded(stack)) == []


def test_every_capacity_of_both_services(record: Any) -> None:
    pools = {f"{mode.replace('_', '')}-{kind}": {**spec, "capacity": capacity, "machine": "a3-ultragpu-8g"}
             for mode, capacity in CAPACITIES.items() if mode != "on_demand" for kind, spec in (("v", VERTEX), ("m", VMS))}  # fmt: skip
    held = {
        "held": {**VERTEX, "capacity": "on_demand", "min_nodes": 1},
        "lab": {**VMS, "machine": "g2-standard-48", "capacity": "on_demand"},
    }
    assert all_broken(record(lambda: declare(pools={**pools, **held}))) == []


def test_a_wrong_field_and_a_wrong_value_are_found() -> None:
    token = "gcp:compute/networkAttachment:NetworkAttachment"
    assert list(broken(token, {"connectionPreference": "ACCEPT_ANY", "subnets": []})) == [
        f"{token}.connectionPreference: ACCEPT_ANY is no value of the enum",
        f"{token}: no field subnets",
    ]
