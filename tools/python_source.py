"""Parse Python source on every supported Python."""

from __future__ import annotations

import ast
import gc


def parse_source(text: str) -> ast.Module:
    """Return the syntax tree of a source, without a garbage collection in between.

    Before 3.11.8 and 3.12.2, CPython raises SystemError when a collection inside `ast.parse` runs code that parses too:
    github.com/python/cpython/issues/106905.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if enabled:
            gc.enable()
