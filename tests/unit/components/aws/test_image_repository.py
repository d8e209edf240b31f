"""AWS's ImageRepository: immutable tags, scans, encryption, and what a destroy leaves."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest
from botocore.session import Session
from botocore.validate import validate_parameters

from gpuyard.components.aws import ImageRepository

REPOSITORY = "aws:ecr/repository:Repository"


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(("on_destroy", "kept"), [("keep", True), ("delete", False)])
def test_the_repository(record: Any, preview: bool, on_destroy: Any, kept: bool) -> None:
    recorded = record(lambda: ImageRepository("images", on_destroy=on_destroy, tags={"owner": "me"}), preview=preview)
    inputs = recorded.inputs(REPOSITORY, "images-repository")
    assert inputs["imageTagMutability"] == "IMMUTABLE"
    assert inputs["imageScanningConfiguration"] == {"scanOnPush": True}
    assert inputs["encryptionConfigurations"] == [{"encryptionType": "KMS"}]
    assert inputs["forceDelete"] is not kept
    assert recorded.one("gpuyard-aws:index:ImageRepository", "images").retainOnDelete is kept


def test_only_images_without_a_tag_are_removed(record: Any) -> None:
    policy = record(lambda: ImageRepository("images")).inputs("aws:ecr/lifecyclePolicy:LifecyclePolicy", "images-lifecycle")["policy"]
    body = {"repositoryName": "images", "lifecyclePolicyText": policy}
    validate_parameters(body, Session().get_service_model("ecr").operation_model("PutLifecyclePolicy").input_shape)
    assert [rule["selection"]["tagStatus"] for rule in json.loads(policy)["rules"]] == ["untagged"]


def test_wrong_inputs_are_reported(record: Any) -> None:
    wrong: Any = "retain"
    with pytest.raises(pulumi.RunError, match=r"ImageRepository Images: 2 problems"):
        record(lambda: ImageRepository("Images", on_destroy=wrong))
