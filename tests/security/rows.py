"""Recorded resources of a cloud in the form that the translations for Checkov and our own rules read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpuyard.components.planning.recorder import Recording, properties
from tests.fakes.pulumi_provider import resource_rules, sdk_check


class Row(NamedTuple):
    """A resource: type token, name in the program, inputs in wire form, and whether a destroy keeps it."""

    token: str
    name: str
    inputs: Mapping[str, Any]
    kept: bool = False


def resources_of(recording: Recording) -> list[Row]:
    """Return the resources of clouds in a recording, without components, providers and our own dynamic resources."""
    return [
        Row(request.type, request.name, sdk_check.plain(properties(request.object)), bool(request.protect or request.retainOnDelete))
        for request in recording.resources.values()
        if request.custom and request.type.partition(":")[0] in resource_rules.PACKAGES
    ]
