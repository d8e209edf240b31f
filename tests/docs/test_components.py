"""docs/components.md shows every component of every cloud, and its examples are programs that an engine would accept."""

from __future__ import annotations

import pytest

from gpuyard.components import registry
from gpuyard.components.base import Component
from tools.docs_component_examples import EXAMPLES
from tools.docs_components import missing_texts, recorded


@pytest.mark.parametrize("cloud", registry.clouds())
def test_the_examples_of_a_cloud_are_one_valid_program(cloud: str) -> None:
    recording = recorded(cloud)
    assert recording.problems == []
    assert recording.component_outputs


@pytest.mark.parametrize("cloud", registry.clouds())
def test_every_component_has_an_example(cloud: str) -> None:
    module = registry.cloud(cloud)
    public = {name for name in module.__all__ if isinstance(made := getattr(module, name), type) and issubclass(made, Component)}
    assert {example.component for example in EXAMPLES[cloud]} == public


def test_every_output_and_argument_has_a_meaning() -> None:
    assert missing_texts() == []
