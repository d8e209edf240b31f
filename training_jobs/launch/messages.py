"""The messages between the nodes of a job: a table of their keys and values, and a parser that rejects everything else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["FROM_MAIN", "FROM_NODES", "RELAYED", "Message", "encode", "parse_hello", "parse_message"]

Message = dict[str, Any]  # JSON, checked by parse_message
_Check = Callable[[object], bool]
_LONGEST_TAIL, _LONGEST_TEXT = 64, 1 << 16


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_tail(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _LONGEST_TAIL and all(map(_is_text, value))


def _is_decision(value: object) -> bool:
    plain = (int, float, str, type(None))
    return isinstance(value, dict) and len(value) < 10 and all(isinstance(each, plain) for each in value.values())


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


_KEYS: Mapping[str, Mapping[str, _Check]] = {
    "ready": {},
    "decision": {"decision": _is_decision},
    "stop": {"stop_s": _or_none(_is_number)},
    "exit": {
        "phase": _is_text, "restarts": _is_count, "changed_at": _is_number, "code": _is_count, "rank": _or_none(_is_count),
        "signal": _or_none(_is_count), "tail": _is_tail,
    },
    "lost": {"reason": _is_text},
    "clock": {"at": _or_none(_is_number)},
}  # fmt: skip
RELAYED = frozenset({"stop", "exit"})  # messages of one node that node 0 forwards to all others
FROM_NODES = frozenset({"ready", "stop", "exit", "clock"})
FROM_MAIN = frozenset({"decision", "stop", "exit", "lost", "clock"})


def encode(kind: str, node: int, content: Mapping[str, object]) -> bytes:
    """Encode a message as one line, without a newline."""
    return json.dumps({"kind": kind, "node": node, **content}).encode()


def parse_message(text: bytes, kinds: frozenset[str], nodes: int) -> Message | None:
    """Parse a message whose kind is in `kinds`; None for anything else. Its `node` is the node that the message is about."""
    message = _parse(text)
    kind = message.get("kind")
    if not isinstance(kind, str) or kind not in kinds or message.keys() != {"kind", "node", *_KEYS[kind]}:
        return None
    valid = _is_count(message["node"]) and message["node"] < nodes and all(check(message[key]) for key, check in _KEYS[kind].items())
    return message if valid else None


def parse_hello(text: bytes, keys: Mapping[str, type]) -> Message:
    """Parse a line of the handshake that has exactly these keys; an empty message for anything else."""
    hello = _parse(text)
    return hello if hello.keys() == keys.keys() and all(type(hello[key]) is kind for key, kind in keys.items()) else {}


def _parse(text: bytes) -> Message:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
