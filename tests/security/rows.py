"""Recorded resources of a cloud, as the scanner's translations and our own rules read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpuyard.components.planning.recorder import Recording, properties
from tests.fakes.pulumi_provider import resource_rules, sdk_check


class Row(NamedTuple):
    """A resource: its type token, its name in the program, its inputs as they go over the wire, and whether a destroy leaves it."""

    token: str
    name: str
    inputs: Mapping[str, Any]
    kept: bool = False


def resources_of(recording: Recording) -> list[Row]:
    """What clouds make of a recording: all but components, providers and resources of ours."""
    return [
        Row(request.type, request.name, sdk_check.plain(properties(request.object)), bool(request.protect or request.retainOnDelete))
        for request in recording.resources.values()
        if request.custom and request.type.partition(":")[0] in resource_rules.PACKAGES
    ]
