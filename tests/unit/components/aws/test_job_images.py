"""The table of AWS Deep Learning Containers: complete, dated, with references that ECR can look up."""

from __future__ import annotations

import re

from gpuyard.components.aws.job_images import job_image, reference, table
from gpuyard.stacks.pinning.job_image import TAGGED


def test_every_row_has_a_source_and_dates() -> None:
    known = table()
    assert set(known.images) == {"batch", "sagemaker"}
    for images in known.images.values():
        for image in images.values():
            assert image.source in known.sources
            assert image.since < image.until
            taken = known.sources[image.source].date
            assert taken is not None
            assert taken >= image.since
    assert all(re.fullmatch(r"\d{12}", account) for account in known.accounts.values())


def test_an_image_that_is_not_in_the_table_is_none() -> None:
    assert job_image("batch", "arm64") is None
    assert job_image("vertex", "x86_64") is None
    image = job_image("sagemaker", "x86_64")
    assert image is not None
    assert reference(image, "xx-east-9") is None


def test_pin_can_look_up_each_reference() -> None:
    image = job_image("sagemaker", "x86_64")
    assert image is not None
    for region, account in table().accounts.items():
        tagged = reference(image, region)
        assert tagged is not None
        found = TAGGED.fullmatch(tagged)
        assert found is not None
        assert (found["account"], found["region"]) == (account, region)
