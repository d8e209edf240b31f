"""Secret references become values here, on the node, in the environment of the workers and nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .ended import EndedError
from .hook import BAD_CONFIG


def resolve(references: Mapping[str, str]) -> dict[str, str]:
    """The value of each variable. Raises EndedError (64) naming every one that cannot be had, and never a value."""
    values, problems = {}, []
    for variable, reference in references.items():
        scheme = reference.split(":", 1)[0]
        try:
            if scheme not in _SCHEMES:
                raise ValueError(f"scheme {scheme!r} is not supported here; supported: {', '.join(_SCHEMES)}")
            values[variable] = _SCHEMES[scheme](reference)
        except (OSError, ValueError) as error:
            problems.append(f"secrets.{variable}: {error}")
    if problems:
        raise EndedError(BAD_CONFIG, "; ".join(problems))
    return values


def _file(reference: str) -> str:
    path = Path(unquote(urlsplit(reference).path))
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise ValueError(f"{path} has mode {mode:04o}: others can read it; chmod 600 it")
    return path.read_text(encoding="utf-8").removesuffix("\n")


_SCHEMES: dict[str, Callable[[str], str]] = {"file": _file}
