"""Which subscription, tenant and resource group a component works in, and the base of every Azure component with its tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import pulumi
import pulumi_azure_native as az

from ...problems import Problem, show
from ..base import Component, Tags, refuse, this_stack

_FORBIDDEN = re.compile(
    r"[<>%&\\?/\x00-\x1f]"
)  # in names of tags: learn.microsoft.com/azure/azure-resource-manager/management/tag-resources
_OWN = ("stack",)
_RESERVED = ("microsoft", "azure", "windows")
_KEY_LIMIT, _VALUE_LIMIT = 128, 256  # 512 elsewhere, 128 on storage accounts
_MOST = 50 - len(_OWN)
_GROUP_NAME = re.compile(r"[\w().-]{0,89}[\w()-]")


class Account(NamedTuple):
    """Who the provider works as. Asked of it, so written nowhere; unknown until Azure answers."""

    subscription_id: pulumi.Output[str]
    tenant_id: pulumi.Output[str]


class ResourceGroup(NamedTuple):
    """A resource group. What is in it goes when it goes."""

    name: pulumi.Output[str]
    id: pulumi.Output[str]


class AzureComponent(Component):
    """A component on Azure. Its children are tagged with `azure_tags` and are in `group`."""

    cloud: ClassVar[str] = "azure"
    group: ResourceGroup

    def __init__(self, kind: str, name: str, props: Mapping[str, Any], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        refuse(f"{kind} {name}", tag_problems(tags or {}))
        super().__init__(kind, name, props, tags, opts)

    def azure_tags(self) -> dict[str, str]:
        """The tags of every child: the component's own and `stack` (project/stack)."""
        return {**self.tags, "stack": this_stack()}

    def use_group(self, given: pulumi.Input[str] | ResourceGroup | None) -> None:
        """Work in the resource group that was given, by name or as another component has it, or in one of its own."""
        if isinstance(given, ResourceGroup):
            self.group = given
        elif given is not None:
            name = pulumi.Output.from_input(given)
            known = pulumi.Output.all(account(self).subscription_id, name)
            self.group = ResourceGroup(name, known.apply(lambda words: f"/subscriptions/{words[0]}/resourceGroups/{words[1]}"))
        else:
            made = az.resources.ResourceGroup(self.child_name("group"), tags=self.azure_tags(), opts=self.child_options())
            self.group = ResourceGroup(made.name, made.id)


def account(parent: Component) -> Account:
    """The account of the component's own provider. Ask once in a component: each call is a look-up."""
    found = az.authorization.get_client_config_output(opts=pulumi.InvokeOptions(parent=parent))
    return Account(
        subscription_id=found.apply(lambda known: str(known.subscription_id)), tenant_id=found.apply(lambda known: str(known.tenant_id))
    )


def configured_location(opts: pulumi.ResourceOptions | None = None) -> str | None:
    """Where the stack's own provider makes things; None where another was handed in, or the settings do not say."""
    opts = opts or pulumi.ResourceOptions()
    inherited = opts.parent.get_provider("azure-native:network:VirtualNetwork") if opts.parent else None
    return None if opts.provider or opts.providers or inherited else pulumi.Config("azure-native").get("location")


def tag_problems(tags: Mapping[str, Any]) -> list[Problem]:
    """What Azure would refuse of tags, a line each. Their names are equal whatever the case.

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
            problems.append(
                Problem("tags", "reserved name", show(key), f"any but stack and {', '.join(_RESERVED)}...", "choose another name")
            )
        elif lower.count(str(key).lower()) > 1:
            problems.append(Problem("tags", "keys differ only in case", show(key), "each key once", "remove one of them"))
    if len(tags) > _MOST:
        problems.append(Problem("tags", "too many tags", str(len(tags)), f"at most {_MOST}", "remove some"))
    return problems


def group_problems(given: Any) -> list[Problem]:
    """Why this cannot be the name of a resource group; an output is looked at by Azure."""
    if isinstance(given, str) and not _GROUP_NAME.fullmatch(given):
        return [Problem("resource_group", "not a name", show(given), "the name of a resource group", "write the last part of its id")]
    return []
