"""Names of directories, cloud resources and jobs, made from logical names."""

from __future__ import annotations

import hashlib
import re

from ..problems import Problem, show

__all__ = ["NAME", "NAME_LIMIT", "directory_name", "job_prefix", "name_problems", "shorten"]

NAME_LIMIT = 40  # maximum length of a logical name, so that child names with prefixes and suffixes are legal too
NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{NAME_LIMIT - 1}}}")
_DIRECTORY_LIMIT = 63
_DIGEST = 8


def directory_name(name: str) -> str:
    """Return the directory name of a bucket or pool: its logical name if it is legal, else a legal name with a digest.

    >>> directory_name("runs")
    'runs'
    >>> directory_name("My Runs")
    'my-runs-8e14f7fa'
    """
    legal = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return name if legal == name and len(name) <= _DIRECTORY_LIMIT else shorten(legal, name, _DIRECTORY_LIMIT)


def shorten(text: str, identity: str, limit: int) -> str:
    """Return `text` cut to `limit` characters. A digest of `identity` at its end keeps the names of different identities apart."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST]
    return f"{text[: limit - _DIGEST - 1].rstrip('-') or 'x'}-{digest}"


def job_prefix(stack: str) -> str:
    """Return the prefix of every job and job definition of a stack. Name-scoped policies rely on it.

    >>> job_prefix("gpuyard/prod")
    'gpuyard-d6d45572-'
    """
    return f"gpuyard-{hashlib.sha256(stack.encode()).hexdigest()[:_DIGEST]}-"


def name_problems(name: str) -> list[Problem]:
    """Return a problem if a component cannot have this name. Cloud resources get names that begin with it.

    >>> name_problems("h100-spot")
    []
    """
    if NAME.fullmatch(name):
        return []
    allowed = f"a-z, 0-9 and -, beginning with a letter, at most {NAME_LIMIT} characters"
    return [Problem("name", "not a valid name", show(name), allowed, "choose another name")]
