"""AWS's EncryptionKey: rotation, deletion window, and a policy for the account and optionally its log groups."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from gpuyard.components.aws import EncryptionKey
from gpuyard.components.aws.key import key_policy

ROOT = {"AWS": "arn:aws:iam::111122223333:root"}


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(lambda: pulumi.export("arn", EncryptionKey("data").arn), preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        ("aws:kms/alias:Alias", "data-alias"),
        ("aws:kms/key:Key", "data-key"),
        ("gpuyard-aws:index:EncryptionKey", "data"),
    ]
    assert set(recorded.outputs("EncryptionKey")) == {"arn"}
    assert recorded.unknown == ({"arn"} if preview else set())


def test_a_key_rotates_and_its_deletion_waits_30_days(record: Any) -> None:
    recorded = record(lambda: EncryptionKey("data", tags={"owner": "me"}))
    key = recorded.inputs("aws:kms/key:Key", "data-key")
    assert json.loads(key.pop("policy")) == key_policy("111122223333", "us-east-1", "aws", False)
    assert key == {
        "description": "gpuyard gpuyard/local data",
        "enableKeyRotation": True,
        "deletionWindowInDays": 30,
        "tags": {"owner": "me", "stack": "gpuyard/local", "Name": "data-key"},
    }
    assert recorded.inputs("aws:kms/alias:Alias", "data-alias") == {"targetKeyId": "data-key-id"}


@pytest.mark.parametrize("for_logs", [False, True])
def test_the_key_policy_lists_every_action_for_the_account_and_its_log_groups(for_logs: bool) -> None:
    statements = key_policy("111122223333", "us-east-1", "aws", for_logs)["Statement"]
    assert [statement["Principal"] for statement in statements] == [ROOT, ROOT, {"Service": "logs.us-east-1.amazonaws.com"}][: 2 + for_logs]
    assert all("*" not in action for statement in statements for action in statement["Action"])
    assert {"kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:EnableKeyRotation"} <= set(statements[0]["Action"])
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(statements[1]["Action"])
    if for_logs:
        assert statements[2]["Condition"] == {
            "ArnLike": {"kms:EncryptionContext:aws:logs:arn": "arn:aws:logs:us-east-1:111122223333:log-group:*"}
        }
        assert "kms:PutKeyPolicy" not in statements[2]["Action"]


def test_on_destroy_decides_whether_the_key_is_retained(record: Any) -> None:
    def program() -> None:
        EncryptionKey("kept")
        EncryptionKey("gone", on_destroy="delete")

    recorded = record(program)
    assert recorded.one("gpuyard-aws:index:EncryptionKey", "kept").retainOnDelete
    assert not recorded.one("gpuyard-aws:index:EncryptionKey", "gone").retainOnDelete


def test_an_unknown_on_destroy_is_reported(record: Any) -> None:
    word: Any = "burn"
    with pytest.raises(
        pulumi.RunError, match=r"EncryptionKey k: 1 problem.*\n.*on_destroy: wrong value, got 'burn', allowed: keep or delete"
    ):
        record(lambda: EncryptionKey("k", on_destroy=word))
