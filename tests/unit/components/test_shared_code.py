"""What clouds share is in the neutral bases: the files of two clouds have few equal lines."""

from __future__ import annotations

import ast
import difflib
import io
import itertools
import tokenize
from pathlib import Path

import pytest

from gpuyard import components
from tools.python_source import parse_source

ROOT = Path(components.__file__).parent
KINDS = ("bucket", "gpu_pool", "job_service", "network", "notify")
CLOUDS = ("aws", "azure", "gcp", "local")
CEILING = 0.15


def code_lines(cloud: str, kind: str) -> list[str]:
    """Return the lines of a file without imports, docstrings, comments, indentation and blank lines."""
    source = (ROOT / cloud / f"{kind}.py").read_text()
    lines = dict(enumerate(source.splitlines(), 1))
    for node in ast.walk(parse_source(source)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if isinstance(node, ast.stmt) and (text or isinstance(node, ast.Import | ast.ImportFrom)):
            lines.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), ""))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            number, column = token.start
            lines[number] = lines[number][:column]
    return [line.strip() for line in lines.values() if line.strip()]


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_two_clouds_have_few_equal_lines(kind: str) -> None:
    lines = {cloud: code_lines(cloud, kind) for cloud in CLOUDS if (ROOT / cloud / f"{kind}.py").exists()}
    pairs = itertools.combinations(lines, 2)
    shares = {(kind, a, b): difflib.SequenceMatcher(None, lines[a], lines[b], autojunk=False).ratio() for a, b in pairs}
    assert {pair: share for pair, share in shares.items() if share > CEILING} == {}
