"""Runs our own rules, which cover what Checkov does not check: pure predicates over recorded resources."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.security.rows import Row

Rule = Callable[[Row, Sequence[Row]], Iterator[str]]
Rules = Mapping[str, tuple[Rule, ...]]
"""Type token -> its rules."""
_SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|(?i:(secret|token|passw)\w*\s*[:=]\s*['\"]?[A-Za-z0-9/+]{16,})")


def wrong(rules: Rules, resources: Sequence[Row]) -> list[str]:
    """Return everything that the rules refuse, as `type name: problem`."""
    return [
        f"{row.token.rpartition(':')[2]} {row.name}: {problem}"
        for row in resources
        for rule in rules.get(row.token, ())
        for problem in rule(row, resources)
    ]


def secret_in(data: str) -> str:
    """Return the beginning of a text that looks like a secret in a boot script, plain or in base64. Empty if there is none."""
    try:
        text = base64.b64decode(data, validate=True).decode()
    except ValueError:
        text = data
    found = _SECRET.search(text)
    return f"{found[0][:12]}..." if found else ""
