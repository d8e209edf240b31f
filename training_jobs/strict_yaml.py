"""Read YAML and report values that YAML 1.1 parses differently from how they look.

YAML 1.1 reads `on` as true, `1:30` as 90, `010` as 8 and a plain date as a date. If a key occurs twice, PyYAML keeps the last value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import yaml

from ..plain_data import PlainDict
from ..problems import Problem, show
from .errors import UsageError

__all__ = ["read_yaml"]

_BOOL, _INT, _FLOAT, _TIME = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp"))
_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
# the numbers of gopkg.in/yaml.v3 (resolve.go), which the Pulumi CLI uses: 091122223333, 1e3 and 0o17, text in PyYAML, are numbers.
# It removes underscores first. `pulumi config --json` of 3.259.0 showed each form, 2026-12-01.
_GO_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_GO_INT = re.compile(r"[-+]?0(o[0-7]+|b[01]+|x[0-9a-f]+)", re.IGNORECASE)
_Trap = Callable[[yaml.Node, str], Iterator[Problem]]
_MOST_VALUES = 100_000  # a few lines of nested aliases can expand to billions of values
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")


def read_yaml(path: Path, as_text: Collection[str] = (), *, pulumi: bool = False) -> tuple[PlainDict, list[Problem]]:
    """Return the mapping in a YAML file and a problem for each misleading value. Raises UsageError when there is no mapping.

    Below the keys `as_text`, numbers are text as written: `3.10` is "3.10", not "3.1".
    `pulumi`: also report text that the Pulumi CLI would read as a number.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply, or contains itself; use fewer levels, and no alias inside its own anchor") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{path} does not hold a mapping; write `key: value` lines")
    try:
        if _expanded(node, {}) > _MOST_VALUES:
            raise UsageError(f"{path} has too many values once its aliases are expanded, allowed: {_MOST_VALUES:,}; write fewer aliases")
        _keep_numbers_as_text(node, as_text)
        traps = list(_traps(node, "", _pulumi_trap if pulumi else _scalar_trap))
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply, or contains itself; use fewer levels, and no alias inside its own anchor") from None
    try:
        data = yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}", traps) from None
    return dict(data), traps


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values with each alias expanded. Stops counting above _MOST_VALUES. Raises RecursionError for a cycle."""
    if id(node) in known:
        if not known[id(node)]:
            raise RecursionError
        return known[id(node)]
    known[id(node)] = 0  # while its children are counted
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    known[id(node)] = min(1 + sum(_expanded(each, known) for each in children), _MOST_VALUES + 1)
    return known[id(node)]


def _keep_numbers_as_text(root: yaml.MappingNode, keys: Collection[str]) -> None:
    waiting = [value for name, value in _merged(root) if getattr(name, "value", None) in keys]
    seen = set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias, possibly to a node that contains the alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if (node.tag == _INT and _PLAIN_INT.fullmatch(node.value)) or (node.tag == _FLOAT and ":" not in node.value):
                node.tag = _STR
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _merged(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the entries of a mapping, including the entries of its merge keys (`<<`)."""
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        yield name, value
        if name.tag == _MERGE:
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _merged(each)


def _traps(node: yaml.Node, key: str, trap: _Trap) -> Iterator[Problem]:
    if isinstance(node, yaml.ScalarNode):
        yield from trap(node, key)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _traps(item, f"{key}.{index}" if key else str(index), trap)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise UsageError(
                    f"line {name.start_mark.line + 1}: mapping keys must be scalars; is this an unrendered {{{{ … }}}} template?"
                )
            child = f"{key}.{name.value}" if key else str(name.value)
            if name.value in seen:
                yield Problem(child, f"duplicate key (line {name.start_mark.line + 1})", fix="keep one")
            seen.add(str(name.value))
            if trap is _pulumi_trap and name.tag == _BOOL and name.value.lower() not in {"true", "false"}:
                name.tag = _STR  # yaml.v3 reads a key `on` as text; `pulumi config get` showed it with 3.259.0, 2026-12-01
            yield from _scalar_trap(name, child)
            yield from _traps(value, child, trap)


def _scalar_trap(node: yaml.Node, key: str) -> Iterator[Problem]:
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return
    text, tag = node.value, node.tag
    trapped = (
        (tag == _BOOL and text.lower() not in {"true", "false"})
        or (tag == _INT and not _PLAIN_INT.fullmatch(text))
        or (tag == _FLOAT and ":" in text)
        or tag == _TIME
    )
    if trapped:
        read = "a date" if tag == _TIME else show(yaml.safe_load(text))
        line = node.start_mark.line + 1
        yield Problem(key, f"YAML reads unquoted {text} as {read} (line {line})", fix=f'quote it: "{text}"')
        node.tag = _STR  # continue with the text as written, so that the other checks see it


def _pulumi_trap(node: yaml.Node, key: str) -> Iterator[Problem]:
    text = node.value if isinstance(node, yaml.ScalarNode) and node.style is None and node.tag == _STR else ""
    yield from _scalar_trap(node, key)
    if (number := _go_number(text)) is not None:
        line = node.start_mark.line + 1
        yield Problem(key, f"the Pulumi CLI reads unquoted {text} as {number:.15g} (line {line})", fix=f'quote it: "{text}"')


def _go_number(text: str) -> float | None:
    """Return the number that the Pulumi CLI reads. None: the text is no number."""
    digits = text.replace("_", "") if not text.startswith("_") else ""
    if _GO_INT.fullmatch(digits):
        return int(digits, 0)
    return float(digits) if _GO_FLOAT.fullmatch(digits) else None
