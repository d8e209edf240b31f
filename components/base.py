"""Base class of every component: type token, child names, tags, and the error for wrong inputs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

import pulumi
from pydantic import ValidationError

from ..plain_data import PlainMapping
from ..problems import Problem, did_you_mean, problems_from, render_problems
from .spec import Spec, in_cloud
from .spec.fields import as_mapping

__all__ = [
    "Component",
    "Problems",
    "Tags",
    "after",
    "all_tags",
    "keywords_only",
    "provider_setting",
    "refusal",
    "refuse",
    "this_stack",
    "validate_spec",
    "verify_input",
]

_P = ParamSpec("_P")
_S = TypeVar("_S", bound=Spec)
Tags = Mapping[str, str]
Problems = Sequence[Problem]


class Component(pulumi.ComponentResource):
    """A component of type `gpuyard-<cloud>:index:<kind>`. Type tokens and child names never change: Pulumi's state has them.

    A subclass validates its spec first, then calls this constructor, makes its children with
    `self.child_name(suffix)` and `self.child_options()`, and ends with `register_outputs`. The bases of pools, buckets, networks and job
    services do this for every cloud (docs/adr/0014).
    """

    cloud: ClassVar[str]
    kind: str
    """Last part of the type token, such as GpuPool."""
    logical_name: str
    tags: dict[str, str]
    """The component's own tags and its parent's tags."""
    _output_names: ClassVar[Sequence[str]] = ()
    """Attributes that the state records as outputs."""

    def __init__(self, kind: str, name: str, props: PlainMapping, tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        _evaluate_annotations(type(self))
        tags = all_tags(tags, opts)
        super().__init__(f"gpuyard-{self.cloud}:index:{kind}", name, {**props, "tags": tags}, opts)
        self.kind = kind
        self.logical_name = name
        self.tags = tags

    def child_name(self, suffix: str) -> str:
        """Return the name of a child. It begins with the component's name, because a URN contains the name of the child alone."""
        return f"{self.logical_name}-{suffix}"

    def child_options(self, **options: Any) -> pulumi.ResourceOptions:
        """Return the options of a child: this component is its parent."""
        return pulumi.ResourceOptions(parent=self, **options)

    def _outputs(self) -> PlainMapping:
        """Return the component's outputs for Pulumi's state."""
        return {name: getattr(self, name) for name in self._output_names}


def _evaluate_annotations(cls: type) -> None:
    """Evaluate the string annotations of a class and its bases. Otherwise Pulumi evaluates them for each component."""
    for each in cls.__mro__[: cls.__mro__.index(Component) + 1]:
        if any(isinstance(value, str) for value in inspect.get_annotations(each).values()):
            each.__annotations__ = inspect.get_annotations(each, eval_str=True)


def all_tags(tags: Tags | None, opts: pulumi.ResourceOptions | None) -> dict[str, str]:
    """Return a component's tags together with its parent's tags."""
    parent = opts.parent if opts else None
    return {**(parent.tags if isinstance(parent, Component) else {}), **(tags or {})}


def validate_spec(model: type[_S], spec: _S | PlainMapping | None, subject: str, cloud: str, also: Problems = ()) -> _S:
    """Validate a spec for a cloud and return it as its model. Raises pulumi.RunError with every problem and no traceback.

    `also`: more problems for the same error, which the model cannot find.
    """
    try:
        valid = model.model_validate(as_mapping(spec), context=in_cloud(cloud))
    except ValidationError as error:
        raise pulumi.RunError(refusal(subject, [*problems_from(error, model), *also])) from None
    refuse(subject, also)
    return valid


def refuse(subject: str, problems: Problems) -> None:
    """Raise pulumi.RunError with every problem, if there is any."""
    if problems:
        raise pulumi.RunError(refusal(subject, problems))


def refusal(subject: str, problems: Problems) -> str:
    """Return the message with every problem of a component's inputs."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return render_problems(f"{subject}: {count}, nothing was changed", problems)


def verify_input(subject: str, value: pulumi.Input[str], problems: Callable[[Any], Problems]) -> pulumi.Output[str]:
    """Return an input as an output that raises pulumi.RunError if `problems` finds a problem in the known value.

    The known value is None for an output that does not exist in the stack of a StackReference.
    """

    def verify(known: Any) -> str:
        refuse(subject, problems(known))
        return str(known)

    return pulumi.Output.from_input(value).apply(verify)


def keywords_only(init: Callable[_P, None]) -> Callable[_P, None]:
    """Wrap the constructor of a component without a spec: refuse wrong arguments with a message instead of a TypeError."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError:
            name = args[1] if len(args) > 1 else kwargs.get("name")
            refuse(f"{type(args[0]).__name__} {name}", _argument_problems(signature, args, kwargs))
        init(*args, **kwargs)

    return wrapper


def _argument_problems(signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, object]) -> list[Problem]:
    keywords = [name for name, each in signature.parameters.items() if each.kind is each.KEYWORD_ONLY]
    required = [name for name in keywords if signature.parameters[name].default is inspect.Parameter.empty]
    problems = [
        Problem(
            "arguments",
            "only the name can be positional",
            got=type(extra).__name__,
            allowed=f"keywords: {', '.join(keywords)}",
            fix=_as_keywords(extra),
        )
        for extra in args[2:]
    ]
    if len(args) < 2 and "name" not in kwargs:
        problems.append(Problem("name", "required argument is missing", fix="write it as the first argument"))
    problems += [Problem(name, "required keyword is missing", fix=f"add {name}=") for name in required if name not in kwargs]
    unknown = [name for name in kwargs if name not in signature.parameters]
    return problems + [
        Problem(name, "unknown keyword", allowed=", ".join(keywords), fix=did_you_mean(name, keywords) or "remove it") for name in unknown
    ]


def _as_keywords(value: object) -> str:
    keywords = ", ".join(f"{key}={item!r}" for key, item in value.items()) if isinstance(value, Mapping) else "KEYWORD=VALUE"
    return f"write {keywords}"


def provider_setting(opts: pulumi.ResourceOptions | None, token: str, namespace: str, key: str) -> str | None:
    """Return a setting of the stack's default provider, such as its region.

    Return None if the component or its parent has another provider, or if the stack file does not have the setting. `token`: a resource
    type of the provider.
    """
    opts = opts or pulumi.ResourceOptions()
    inherited = opts.parent.get_provider(token) if opts.parent else None
    return None if opts.provider or opts.providers or inherited else pulumi.Config(namespace).get(key)


def this_stack() -> str:
    """Return project/stack, the value of the tag `stack` and of the field `stack` in a job target."""
    return f"{pulumi.get_project()}/{pulumi.get_stack()}"


def after(value: pulumi.Output[str], parts: Sequence[pulumi.Output[str]]) -> pulumi.Output[str]:
    """Return the value as an output that is known only after all `parts` are known."""
    return pulumi.Output.all(value, *parts).apply(lambda known: str(known[0]))
