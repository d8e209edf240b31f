"""This version takes over the states of earlier versions and replaces or deletes nothing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.fakes.pulumi_provider import record_state

pytestmark = pytest.mark.engine
# Types of resources, or TYPE::NAME of one, that a later version leaves out or replaces on purpose, by stack. CHANGELOG.md names each.
_NOT_MADE_ANY_MORE = {
    "gcp:storage/bucket:Bucket",  # of access logs
    "gcp:storage/bucketIAMMember:BucketIAMMember",
    "gcp:compute/networkAttachment:NetworkAttachment",
    "gcp:projects/iAMCustomRole:IAMCustomRole",
    "gcp:projects/iAMMember:IAMMember",
}
# An assignment's role cannot change, so a narrower role needs another assignment: Azure's message RoleAssignmentUpdateNotPermitted.
_NARROWER_ROLE = {"azure-native:authorization:RoleAssignment::train-may-close"}
ALLOWED = {"dev-gcp": _NOT_MADE_ANY_MORE, "dev-azure": _NARROWER_ROLE}
# What a user's own stack file of that version has, where the committed file has changed its machines since.
THEN = {
    "dev-azure": {"eastus2": "eastus", "    h100:": "    a100:", "    h100-spot:": "    a100-spot:", "NC40ads_H100_v5": "NC24ads_A100_v4"},
}
STATES = sorted(record_state.FOLDER.glob("*.json.gz"))


def test_states_are_recorded() -> None:
    assert STATES, "no state is recorded; run tests/fakes/pulumi_provider/record_state.py before each release"


@pytest.mark.parametrize("state", STATES, ids=[state.name.removesuffix(".json.gz") for state in STATES])
def test_an_earlier_state_is_taken_over(state: Path, tmp_path: Path, engine_environment: dict[str, str]) -> None:
    name = state.name.rpartition("-")[0]
    yard = record_state.stack(tmp_path, engine_environment, name)
    settings = yard.root / "stacks" / f"Pulumi.{name}.yaml"
    for now, then in THEN.get(name, {}).items():
        assert now in settings.read_text(encoding="utf-8")
        settings.write_text(settings.read_text(encoding="utf-8").replace(now, then), encoding="utf-8")
    file = tmp_path / "state.json"
    file.write_bytes(gzip.decompress(state.read_bytes()))
    yard.pulumi("stack", "import", "--file", str(file))
    steps = yard.json("preview")["steps"]
    allowed = ALLOWED.get(name, set())
    changed = {step["urn"]: step["op"] for step in steps if step["op"] not in ("same", "update", "create", "read", "refresh")}
    kinds = {urn: urn.rpartition("$")[2] for urn in changed}
    lost = {urn: changed[urn] for urn, kind in kinds.items() if not allowed & {kind, kind.partition("::")[0]}}
    assert lost == {}, "a user of that version would lose these resources: keep names and parents, or add aliases"
