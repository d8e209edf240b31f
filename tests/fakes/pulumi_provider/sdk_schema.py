"""The properties of a resource or a look-up in an installed Pulumi SDK: wire names, types, required or optional.

It parses the SDK's source text class by class and imports nothing: importing `aws.ec2` takes seconds, this takes milliseconds.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.python_source import parse_source

PLAIN = ("str", "bool", "int", "float")
_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
_MODULE = re.compile(r'"mod": "([^"]+)",\s*"fqn": "([^"]+)",\s*"classes": \{([^}]*)\}')
_PARSING = threading.Lock()  # CPython's parser counts its depth for all threads together (gh-106905)


class UnknownToken(Exception):  # noqa: N818 not always an error
    """The installed SDK has no such resource or look-up."""


@dataclass(frozen=True)
class Kind:
    """A type. `word` is str, bool, int, float, any, asset, enum, list, map, union or object; `parts` are the inner types."""

    word: str
    parts: tuple[Kind, ...] = ()
    name: str = ""  # an object's input class, or an enumeration's class
    home: str = ""  # the SDK folder of that class: pulumi_aws/ec2


@dataclass(frozen=True)
class Property:
    """One property of a resource, by its wire name."""

    kind: Kind
    required: bool


@dataclass(frozen=True)
class Resource:
    """A resource type: its inputs and its outputs. A `required` output always has a value."""

    token: str
    inputs: Mapping[str, Property]
    outputs: Mapping[str, Property]


@functools.cache
def resource(token: str) -> Resource:
    """Return the resource of a type token such as `aws:ec2/vpc:Vpc`. Raises UnknownToken."""
    package = _package(token)
    home, name = _resources(package).get(token, ("", ""))
    if not name:
        raise UnknownToken(f"the installed {package} has no resource {token}")
    texts = _classes(_folder(home) / f"{_snake(name)}.py")
    arguments = texts.get(f"{name}InitArgs") or texts[f"{name}Args"]
    return Resource(token, _inputs(arguments, home), _outputs(texts[name], home))


@functools.cache
def look_up(token: str) -> Resource:
    """Return arguments and results of a look-up such as `aws:index/getRegion:getRegion`. Raises UnknownToken."""
    package, (_, module, name) = _package(token), token.split(":")
    service = module.partition("/")[0]
    home = package if service == "index" else f"{package}/{service}"
    file = _folder(home) / f"{_snake(name)}.py"
    if not file.exists():
        raise UnknownToken(f"the installed {package} has no look-up {token}")
    arguments = re.findall(r"__args__\['(\w+)'\]", file.read_text(encoding="utf-8"))
    result = next(text for name, text in _classes(file).items() if name.startswith("Get") and name.endswith("Result"))
    return Resource(token, {name: Property(Kind("any"), required=False) for name in arguments}, _outputs(result, home))


@functools.cache
def fields(home: str, name: str) -> Mapping[str, Property]:
    """Return the properties of a nested input class such as ("pulumi_aws/ec2", "LaunchTemplateEbsArgs")."""
    return _inputs(_classes(_folder(home) / "_inputs.py")[name], home)


@functools.cache
def members(home: str, name: str) -> frozenset[str]:
    """Return the values of an enumeration such as ("pulumi_azure_native/storage", "MinimumTlsVersion")."""
    body = _parsed(_classes(_folder(home) / "_enums.py")[name]).body
    return frozenset(str(ast.literal_eval(item.value)) for item in body if isinstance(item, ast.Assign))


def _package(token: str) -> str:
    """Return the SDK's package of a token: pulumi_azure_native for `azure-native:...`."""
    return f"pulumi_{token.partition(':')[0].replace('-', '_')}"


@functools.cache
def _folder(home: str) -> Path:
    package, _, service = home.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UnknownToken(f"{package} is not installed")
    return Path(found.origin).parent / service


@functools.cache
def _resources(package: str) -> Mapping[str, tuple[str, str]]:
    """Return a dict: type token -> (folder of the SDK, name of the class)."""
    text = (_folder(package) / "__init__.py").read_text(encoding="utf-8")
    found = {}
    for match in _MODULE.finditer(text):
        home = match[2].replace(".", "/")
        found.update({token: (home, name) for token, name in re.findall(r'"([^"]+)": "(\w+)"', match[3])})
    return found


@functools.cache
def _classes(file: Path) -> Mapping[str, str]:
    """Return the text of each class of a source file."""
    text = file.read_text(encoding="utf-8")
    starts = [(match.start(), match[1]) for match in _CLASS.finditer(text)]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return {name: text[start:end].partition("\n@")[0] for (start, name), end in zip(starts, ends, strict=True)}


def _inputs(text: str, home: str) -> Mapping[str, Property]:
    body = _parsed(text)
    wire, init = _getters(body), next(item for item in body.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    given = init.args.kwonlyargs
    return {
        wire[argument.arg][0]: Property(_kind(argument.annotation, home), default is None)
        for argument, default in zip(given, init.args.kw_defaults, strict=True)
    }


def _outputs(text: str, home: str) -> Mapping[str, Property]:
    body = _parsed(text)
    return {
        name: Property(_kind(returns, home), required=not ast.unparse(returns).startswith("pulumi.Output[Optional["))
        for name, returns in _getters(body).values()
    }


def _parsed(text: str) -> ast.ClassDef:
    with _PARSING:
        body = parse_source(text).body[0]
    assert isinstance(body, ast.ClassDef)
    return body


def _getters(body: ast.ClassDef) -> dict[str, tuple[str, ast.expr]]:
    """Return Python name -> (wire name, type) of a class's properties."""
    found = {}
    for item in body.body:
        if not isinstance(item, ast.FunctionDef) or item.returns is None:
            continue
        for decorator in item.decorator_list:
            name = ast.unparse(decorator)
            if name == "pulumi.getter":
                found[item.name] = (item.name, item.returns)
            elif isinstance(decorator, ast.Call) and name.startswith("pulumi.getter("):
                found[item.name] = (str(ast.literal_eval(decorator.keywords[0].value)), item.returns)
    return found


def _kind(node: ast.expr | None, home: str) -> Kind:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _named(node.value, home)
    if isinstance(node, ast.Subscript):
        outer, inner = ast.unparse(node.value).rpartition(".")[2], node.slice
        if outer in ("Input", "Output", "Optional"):
            return _kind(inner, home)
        if outer in ("Sequence", "List"):
            return Kind("list", (_kind(inner, home),))
        assert isinstance(inner, ast.Tuple), ast.unparse(node)
        if outer in ("Mapping", "Dict"):
            return Kind("map", (_kind(inner.elts[1], home),))
        return _one_of([_kind(part, home) for part in inner.elts])
    name = ast.unparse(node).rpartition(".")[2] if node is not None else "Any"
    return Kind(name) if name in PLAIN else Kind("asset" if name in ("Asset", "Archive") else "any")


def _named(text: str, home: str) -> Kind:
    """Return a quoted type: an input class, possibly of another service, or an enumeration. An output class counts as any."""
    other, _, name = text.rpartition(".")
    if other == "outputs" or name.endswith("ArgsDict"):
        return Kind("any" if other == "outputs" else "object", name=name.removesuffix("Dict"), home=home)
    word = "object" if name.endswith("Args") else "enum"
    return Kind(word, name=name, home=f"{home.partition('/')[0]}/{other.removeprefix('_')}" if other else home)


def _one_of(kinds: list[Kind]) -> Kind:
    words = {kind.word for kind in kinds}
    # of a text and an enumeration, the enumeration counts
    different = tuple(dict.fromkeys(kind for kind in kinds if kind.word != "str" or "enum" not in words))
    return different[0] if len(different) == 1 else Kind("union", different)


def _snake(name: str) -> str:
    """Return the SDK's file name of a class: BucketObjectv2 -> bucket_objectv2, GetCallerIdentity -> get_caller_identity."""
    step = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return step.lower()
