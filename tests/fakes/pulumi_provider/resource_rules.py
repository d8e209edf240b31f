"""Rules of a cloud that the SDK does not contain: ids, names, properties that force a replacement, results of look-ups.

Each cloud has one `ResourceRules`, in the module that `_MODULES` names. Its tables are by type token, with a general rule for other types.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_MODULES = {"aws": "aws_rules", "gcp": "gcp_rules", "azure-native": "azure_rules"}  # by the package of a type token
PACKAGES = tuple(_MODULES)


@dataclass(frozen=True)
class ResourceRules:
    """The rules of one cloud."""

    look_ups: Mapping[str, Mapping[str, Any]]
    """Token of a look-up -> its result, to which its arguments are added."""
    fixed: Mapping[str, frozenset[str]]
    """Token -> properties whose change replaces the resource. The row `*` applies to every type, in addition to the type's own row."""
    renewed: Mapping[str, tuple[str, ...]]
    """Token -> outputs that every in-place change renews, so that a preview does not know them."""
    named_by: Mapping[str, str]
    """Token -> the property that holds the name, for types for which `name_key` is wrong."""
    made: Callable[[str, str, Mapping[str, Any]], tuple[str, dict[str, Any]]]
    """(token, URN, inputs) -> the id of a new resource, and its addresses (`arn`, `selfLink`)."""
    held: frozenset[str]
    """Types that cannot be deleted while another resource refers to their id."""
    computed: Callable[[str, str], Any]
    """(output, id) -> the computed value; None if any value will do."""
    name: Callable[[str, str, str], str]
    """(token, name in the program, that name with digits) -> the name that the provider generates if the program gave none."""
    all_tags: str = ""
    """The output that holds the tags of the provider and of the resource together."""
    name_key: Callable[[str], str] = lambda token: "name"
    """Token -> the property that holds the name."""
    all_fixed: Callable[[str], frozenset[str]] = lambda token: frozenset()
    """Token -> further properties whose change replaces the resource."""
    places: Callable[[str], tuple[str, ...]] = lambda token: ()
    """Token -> the properties that form its id."""
    shown: Callable[[str, Mapping[str, Any]], dict[str, Any]] = lambda made_id, inputs: {}
    """(id, empty in a preview; inputs) -> properties that come back in another form than they were given."""
    refusals: Callable[[str, Mapping[str, Any], Callable[[str], Mapping[str, Any] | None]], list[str]] = lambda token, inputs, find: []
    """(token, inputs, id of another resource -> its inputs) -> the messages with which the service refuses the resource."""

    holds_nothing: frozenset[str] = frozenset()
    """Types whose references do not stop the delete of another resource."""
    change_refusals: Callable[[str, Mapping[str, Any], Mapping[str, Any]], list[str]] = lambda token, old, new: []
    """(token, old inputs, new inputs) -> the messages with which the service refuses a change in place."""

    undeletable: Mapping[str, str] = field(default_factory=dict)
    """Type -> the cloud's answer to a delete of a resource in use. The stand-in assumes that each resource of these types is in use."""
    blocked: frozenset[str] = frozenset()
    """Types whose ids the cloud blocks after a delete."""
    refused: Callable[[str, Mapping[str, Any], Mapping[str, Any]], str | None] = lambda token, inputs, config: None
    """(token, inputs, the provider's configuration) -> the cloud's answer to a create that it refuses."""

    read_by: Mapping[str, str] = field(default_factory=dict)
    """Token of a look-up that reads one resource, which may not exist -> type token of the resource."""

    def key(self, token: str) -> str:
        """Return the property that holds a resource's name."""
        return self.named_by.get(token) or self.name_key(token)

    def fixes(self, token: str) -> frozenset[str]:
        """Return the properties whose change replaces a resource of this type."""
        return self.fixed["*"] | self.fixed.get(token, frozenset()) | self.all_fixed(token)


@functools.cache
def of(token: str) -> ResourceRules:
    """Return the rules of the cloud that a type token belongs to. Raises KeyError for another package."""
    module = importlib.import_module(f"tests.fakes.pulumi_provider.{_MODULES[token.partition(':')[0]]}")
    found: ResourceRules = module.SHAPES
    return found


def digits(*parts: str) -> str:
    """Return 17 hexadecimal digits, equal for equal parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:17]
