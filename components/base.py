"""The base of every component: type token, child names, tags, errors for people."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pulumi
from pydantic import ValidationError

from ..problems import Problem, problems_from, render_problems
from .spec import Spec, in_cloud
from .spec.fields import as_mapping

_S = TypeVar("_S", bound=Spec)
Tags = Mapping[str, str]


class Component(pulumi.ComponentResource):
    """A component `gpuyard-<cloud>:index:<Name>`; tokens and child names are frozen contracts.

    A subclass validates its spec first, then calls this constructor, makes its children with
    `self.child_name(suffix)` and `self.child_options()`, and ends with `register_outputs`.
    """

    cloud: ClassVar[str]
    logical_name: str
    tags: dict[str, str]

    def __init__(self, kind: str, name: str, props: Mapping[str, Any], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        _evaluate_annotations(type(self))
        parent = opts.parent if opts else None
        tags = {**(parent.tags if isinstance(parent, Component) else {}), **(tags or {})}
        super().__init__(f"gpuyard-{self.cloud}:index:{kind}", name, {**props, "tags": tags}, opts)
        self.logical_name = name
        self.tags = tags

    def child_name(self, suffix: str) -> str:
        """The name of a child: URNs are not relative to the parent, so the parent's name comes first."""
        return f"{self.logical_name}-{suffix}"

    def child_options(self, **options: Any) -> pulumi.ResourceOptions:
        """Options of a child: this component is its parent."""
        return pulumi.ResourceOptions(parent=self, **options)


def _evaluate_annotations(cls: type) -> None:
    """Evaluate the string annotations of a component's classes once; Pulumi would evaluate them anew for each component."""
    for each in cls.__mro__[: cls.__mro__.index(Component) + 1]:
        if any(isinstance(value, str) for value in inspect.get_annotations(each).values()):
            each.__annotations__ = inspect.get_annotations(each, eval_str=True)


def checked(model: type[_S], spec: _S | Mapping[str, Any] | None, subject: str, cloud: str, also: Sequence[Problem] = ()) -> _S:
    """Validate a spec for a cloud and return it as its model. Raises pulumi.RunError with every problem and no traceback.

    `also`: problems that the model cannot see, reported together with its own.
    """
    try:
        valid = model.model_validate(as_mapping(spec), context=in_cloud(cloud))
    except ValidationError as error:
        raise pulumi.RunError(refusal(subject, [*problems_from(error, model), *also])) from None
    refuse(subject, also)
    return valid


def refuse(subject: str, problems: Sequence[Problem]) -> None:
    """Raise pulumi.RunError with every problem, if there is any."""
    if problems:
        raise pulumi.RunError(refusal(subject, problems))


def refusal(subject: str, problems: Sequence[Problem]) -> str:
    """Return the message of a component that refuses its inputs."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return render_problems(f"{subject}: {count}, nothing was changed", problems)


def this_stack() -> str:
    """The value of the tag `stack`: project/stack, as in job targets."""
    return f"{pulumi.get_project()}/{pulumi.get_stack()}"


def after(value: pulumi.Output[str], parts: Sequence[pulumi.Output[str]]) -> pulumi.Output[str]:
    """The value, known once all parts are there: whoever uses it finds them in place."""
    return pulumi.Output.all(value, *parts).apply(lambda known: str(known[0]))
