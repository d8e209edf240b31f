"""The provider's subscription, tenant and location, resource groups, and the base class of Azure components."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import pulumi
import pulumi_azure_native as az

from ...problems import Problem, show
from ..base import Component, Tags, refuse, this_stack

__all__ = ["Account", "AzureComponent", "ResourceGroup", "account", "configured_location", "group_problems", "tag_problems"]

# In names of tags: learn.microsoft.com/azure/azure-resource-manager/management/tag-resources
_FORBIDDEN = re.compile(r"[<>%&\\?/\x00-\x1f]")
_OWN = ("stack",)
_RESERVED = ("microsoft", "azure", "windows")
_KEY_LIMIT, _VALUE_LIMIT = 128, 256  # names may have 512 characters, but only 128 on storage accounts
_MOST = 50 - len(_OWN)
_GROUP_NAME = re.compile(r"[\w().-]{0,89}[\w()-]")


class Account(NamedTuple):
    """Subscription and tenant of the provider, as outputs of a look-up."""

    subscription_id: pulumi.Output[str]
    tenant_id: pulumi.Output[str]


class ResourceGroup(NamedTuple):
    """A resource group. Deleting it deletes everything in it."""

    name: pulumi.Output[str]
    id: pulumi.Output[str]


class AzureComponent(Component):
    """Base class of Azure components. Children get the tags of `azure_tags` and belong to the resource group `group`."""

    cloud: ClassVar[str] = "azure"
    group: ResourceGroup

    def __init__(self, kind: str, name: str, props: Mapping[str, object], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        refuse(f"{kind} {name}", tag_problems(tags or {}))
        super().__init__(kind, name, props, tags, opts)

    def azure_tags(self) -> dict[str, str]:
        """Return the tags of every child: the component's own tags and `stack` (project/stack)."""
        return {**self.tags, "stack": this_stack()}

    def use_group(self, given: pulumi.Input[str] | ResourceGroup | None) -> None:
        """Set `group` to an existing resource group, given by name or from another component. None: make a new group."""
        if isinstance(given, ResourceGroup):
            self.group = given
        elif given is not None:
            name = pulumi.Output.from_input(given)
            known = pulumi.Output.all(account(self).subscription_id, name)
            self.group = ResourceGroup(name, known.apply(lambda parts: f"/subscriptions/{parts[0]}/resourceGroups/{parts[1]}"))
        else:
            made = az.resources.ResourceGroup(self.child_name("group"), tags=self.azure_tags(), opts=self.child_options())
            self.group = ResourceGroup(made.name, made.id)


def account(parent: Component) -> Account:
    """Look up the account of the component's provider. Call it once for each component, because each call is a request."""
    found = az.authorization.get_client_config_output(opts=pulumi.InvokeOptions(parent=parent))
    return Account(
        subscription_id=found.apply(lambda known: str(known.subscription_id)), tenant_id=found.apply(lambda known: str(known.tenant_id))
    )


def configured_location(opts: pulumi.ResourceOptions | None = None) -> str | None:
    """Return the stack's setting `azure-native:location`. None: it is not set, or `opts` name another provider."""
    opts = opts or pulumi.ResourceOptions()
    inherited = opts.parent.get_provider("azure-native:network:VirtualNetwork") if opts.parent else None
    return None if opts.provider or opts.providers or inherited else pulumi.Config("azure-native").get("location")


def tag_problems(tags: Mapping[str, object]) -> list[Problem]:
    """Return a problem for each tag that Azure refuses. Azure ignores the case of tag names.

    >>> tag_problems({"owner": "ml-platform@acme.io", "expires": "2027-03-31"})
    []
    """
    problems = []
    lower = [str(key).lower() for key in tags]
    for key, value in tags.items():
        if not isinstance(value, str) or len(value) > _VALUE_LIMIT:
            problems.append(Problem(f"tags.{key}", "not a valid tag value", show(value), f"a string of at most {_VALUE_LIMIT} characters"))
        if not 0 < len(str(key)) <= _KEY_LIMIT or _FORBIDDEN.search(str(key)):
            problems.append(Problem("tags", "not a valid tag name", show(key), f"1 to {_KEY_LIMIT} characters without < > % & \\ ? /"))
        elif str(key).lower() in _OWN or str(key).lower().startswith(_RESERVED):
            allowed = f"any name but stack and names that begin with {', '.join(_RESERVED)}"
            problems.append(Problem("tags", "reserved name", show(key), allowed, "choose another name"))
        elif lower.count(str(key).lower()) > 1:
            problems.append(Problem("tags", "keys differ only in case", show(key), "each key once", "remove one of them"))
    if len(tags) > _MOST:
        problems.append(Problem("tags", "too many tags", str(len(tags)), f"at most {_MOST}", "remove some tags"))
    return problems


def group_problems(given: object) -> list[Problem]:
    """Return the problems of a resource group's name. An output is not checked here."""
    if isinstance(given, str) and not _GROUP_NAME.fullmatch(given):
        return [Problem("resource_group", "not a name", show(given), "the name of a resource group", "write the last part of its id")]
    return []
