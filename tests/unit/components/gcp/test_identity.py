"""Service accounts: legal ids, narrow roles with a reason each, and no keys."""

from __future__ import annotations

import re
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.gcp.identity import Identity, account_id
from gpuyard.components.gcp.roles import PROJECT_ROLES, custom_role_id, folder_condition
from tests.helpers.gcp_sample_yard import TAGS, declare

ACCOUNT, ROLE = "gcp:serviceaccount/account:Account", "gcp:projects/iAMCustomRole:IAMCustomRole"
GRANT = "gcp:projects/iAMMember:IAMMember"
PRIMITIVE = ("roles/owner", "roles/editor", "roles/viewer", "roles/browser")


def program() -> None:
    Identity("nodes", purpose="machines", project_roles=("write-logs", "resize-pools"), tags=TAGS)
    Identity("jobs", purpose="jobs")


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(program, preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        (ROLE, "nodes-resize-pools-role"),
        (GRANT, "nodes-resize-pools"),
        (GRANT, "nodes-write-logs"),
        (ACCOUNT, "jobs-account"),
        (ACCOUNT, "nodes-account"),
        ("gpuyard-gcp:index:Identity", "jobs"),
        ("gpuyard-gcp:index:Identity", "nodes"),
    ]


def test_the_email_waits_for_the_role_grants(record: Any) -> None:
    def user() -> None:
        made = Identity("nodes", purpose="machines", project_roles=("write-logs",))
        pulumi.ComponentResource("t:index:User", "user", {"email": made.email, "member": made.member})

    recorded = record(user)
    waits = {urn.rpartition("::")[2] for urn in recorded.one("t:index:User", "user").propertyDependencies["email"].urns}
    assert waits == {"nodes-account", "nodes-write-logs"}
    email = recorded.inputs("t:index:User", "user")["email"]
    assert recorded.inputs("t:index:User", "user")["member"] == f"serviceAccount:{email}"


def test_a_custom_roles_id_is_new_when_the_yard_is_made_again(record: Any) -> None:
    """Google blocks the id of a deleted role for up to 37 days, so the id contains the account's unique id."""
    recorded = record(program)
    role = recorded.one(ROLE, "nodes-resize-pools-role")
    assert {urn.rpartition("::")[2] for urn in role.propertyDependencies["roleId"].urns} == {"nodes-account"}
    assert list(role.ignoreChanges) == ["roleId"], "a role of an earlier version keeps its id"


@given(st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True), st.sampled_from(["", "-node", "-end", "-submitter"]))
def test_account_ids_are_legal_and_differ_between_stacks(name: str, suffix: str) -> None:
    """cloud.google.com/iam/docs/service-accounts-create: 6 to 30 characters, first a letter, last no hyphen."""
    found = account_id("gpuyard/prod", name + suffix)
    assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", found)
    assert found != account_id("gpuyard/dev", name + suffix)


@pytest.mark.parametrize("key", sorted(PROJECT_ROLES))
def test_project_roles_are_narrow_and_have_a_reason(key: str) -> None:
    row = PROJECT_ROLES[key]
    assert row.why
    assert bool(row.role) != bool(row.permissions)
    assert row.role not in PRIMITIVE
    assert not re.search("[aA]dmin", row.role)
    assert all("*" not in word and not word.endswith((".setIamPolicy", ".actAs", ".getAccessToken")) for word in row.permissions)
    assert list(row.permissions) == sorted(row.permissions)
    assert re.fullmatch(r"[a-zA-Z0-9_.]{3,64}", custom_role_id(key, "d6d45572"))


@pytest.mark.parametrize("preview", [False, True])
def test_no_account_of_a_yard_has_a_key_or_a_primitive_role(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview)
    kinds = {request.type for request in recorded.resources.values()}
    assert not [kind for kind in kinds if "serviceaccount/key" in kind or "hmacKey" in kind]
    roles = {request.object["role"] for request in recorded.resources.values() if "role" in request.object}
    assert not roles & set(PRIMITIVE)
    assert not [role for role in roles if re.search("[aA]dmin$", str(role))]


def test_a_folder_condition_names_folders_of_one_bucket() -> None:
    found = folder_condition("runs-1a2b", "gpuyard/code/", "gpuyard/runs/")
    parts = found.split(" || ")
    assert len(parts) == 2
    assert all(part.startswith('resource.name.startsWith("projects/_/buckets/runs-1a2b/objects/gpuyard/') for part in parts)
    assert all(part.endswith('/")') for part in parts)  # a folder, not every name with this prefix
