"""What a cloud's stand-in has to know of it beside the SDK: ids, names, what cannot be changed in place, the answers to look-ups.

A cloud is one `Shapes`, in the module that `_MODULES` names. Its tables are by type token; what they lack follows a plain rule.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_MODULES = {"aws": "aws_rules", "gcp": "gcp_rules", "azure-native": "azure_rules"}  # by the package of a type token
PACKAGES = tuple(_MODULES)


@dataclass(frozen=True)
class Shapes:
    """How a cloud shapes what it makes."""

    look_ups: Mapping[str, Mapping[str, Any]]
    """Token of a look-up -> its answer; its arguments are added to that."""
    fixed: Mapping[str, frozenset[str]]
    """Changing one of these properties replaces the resource. `*`: of every type; a type's own row is added to that."""
    renewed: Mapping[str, tuple[str, ...]]
    """Outputs that any change in place makes anew, so that a preview cannot know them."""
    named_by: Mapping[str, str]
    """The property that is a resource's name where `name_key` would not find it."""
    made: Callable[[str, str, Mapping[str, Any]], tuple[str, dict[str, Any]]]
    """(token, urn, inputs) -> the id of a new resource, and the outputs which say where it is (`arn`, `selfLink`)."""
    held: frozenset[str]
    """Types that cannot be deleted while another resource names their id."""
    computed: Callable[[str, str], Any]
    """(output, id) -> what the cloud computes for it; None: a text or number of no meaning."""
    name: Callable[[str, str, str], str]
    """(token, name in the program, that with some digits) -> the name that the provider gives where the program gave none."""
    all_tags: str = ""
    """The output in which the tags of the provider and of the resource are together."""
    name_key: Callable[[str], str] = lambda token: "name"
    """Token -> the property that is the name, by the cloud's rule."""
    all_fixed: Callable[[str], frozenset[str]] = lambda token: frozenset()
    """Token -> more such properties as in `fixed`, by the cloud's rule."""
    places: Callable[[str], tuple[str, ...]] = lambda token: ()
    """Token -> the properties that its id is made of."""
    shown: Callable[[str, Mapping[str, Any]], dict[str, Any]] = lambda made_id, inputs: {}
    """(id, or nothing in a preview; inputs) -> the properties that come back in another form than they were given."""

    def key(self, token: str) -> str:
        """The property that is a resource's name."""
        return self.named_by.get(token) or self.name_key(token)

    def fixes(self, token: str) -> frozenset[str]:
        """The properties whose change replaces a resource of this type."""
        return self.fixed["*"] | self.fixed.get(token, frozenset()) | self.all_fixed(token)


@functools.cache
def of(token: str) -> Shapes:
    """The shapes of the cloud that a type token is of. Raises KeyError where there is none."""
    module = importlib.import_module(f"tests.fakes.pulumi_provider.{_MODULES[token.partition(':')[0]]}")
    found: Shapes = module.SHAPES
    return found


def digits(*parts: str) -> str:
    """17 digits as a cloud draws them, the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:17]
