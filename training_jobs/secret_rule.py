"""Recognise secrets in a job, so that they are refused before they reach a request, a log or a record."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

__all__ = ["arguments_hold_secret", "has_secret_shape", "looks_secret", "split_marks"]

_SECRET_NAME = re.compile(
    r"(?i)(^|_)(password|passwd|passphrase|secret)(_|$)|(password|passwd|pwd)$"
    r"|(^|_)(pass|token|api_?key|access_?key|account_?key|private_?key|credentials?|sas)$"
)
_SHORT_SECRET_NAME = re.compile(r"(?i)pass|pwd|secret")  # a password may have any length
_PLACE_NAME = re.compile(r"(?i)_(file|path|dir|url)$")
_PLACE = re.compile(r"^(~|\.{0,2}/|[a-z][a-z0-9+.-]*://)")
_MARKER = re.compile(r"<.*>|\[.*\]")  # a tokenizer's special token
_HARMLESS = {"", "0", "1", "true", "false"}
_ASSIGNMENT = re.compile(r"-{0,2}([A-Za-z][\w-]*)[=:](.+)", re.DOTALL)
# shapes that the issuers document; gitleaks and GitHub's secret scanning list the same ones (docs.github.com, secret scanning patterns)
_SHAPES = (
    r"(AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}",  # GitHub, GitLab
    r"sk-(?=[\w-]*\d)[\w-]{20,}|hf_[A-Za-z0-9]{20,}|nvapi-[\w-]{20,}|r8_[A-Za-z0-9]{30,}",  # OpenAI, Hugging Face, NVIDIA, Replicate
    r"xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}",  # Slack, Google
    r"npm_[A-Za-z0-9]{30,}|pypi-AgE[\w-]{20,}|dckr_pat_[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}",  # npm, PyPI, Docker Hub, SendGrid
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}",  # a JSON web token
)
_SECRET_VALUE = re.compile(
    rf"(?<![A-Za-z0-9])({'|'.join(_SHAPES)})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@]*:[^/\s@]+@"  # user and password in a URL
    r"|(?i:\b(bearer|basic)\s+[\w.~+/=-]{16,})"  # an HTTP header
    r"|(?i:\b(AccountKey|SharedAccessKey|SharedAccessSignature)=\S{16,})"  # an Azure connection string
    r"|(?i:[?&](sig|X-Amz-Signature|X-Goog-Signature|Signature)=[\w%+/=-]{16,})"  # a SAS or presigned URL
)


def arguments_hold_secret(arguments: Sequence[str]) -> bool:
    """Return whether the arguments contain a secret, in one argument or in two (`--password hunter2`)."""
    pairs = [f"{option}={value}" for option, value in itertools.pairwise(arguments) if option.startswith("--") and value[:1] != "-"]
    return any(has_secret_shape(text) for text in (*arguments, *pairs))


def has_secret_shape(text: str) -> bool:
    """Return whether a text has the format of a credential, or sets a password (`--db-password=VALUE`, `PGPASSWORD=VALUE`)."""
    if _SECRET_VALUE.search(text):
        return True
    found = _ASSIGNMENT.fullmatch(text)
    name = found[1].replace("-", "_") if found else ""
    return found is not None and bool(_SHORT_SECRET_NAME.search(name)) and looks_secret(name, found[2].strip())


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable probably contains a secret: by the format of its value, or by its name."""
    if _SECRET_VALUE.search(value):
        return True
    if not _SECRET_NAME.search(name) or value.lower() in _HARMLESS or _MARKER.fullmatch(value):
        return False
    if _PLACE.match(value) or (_PLACE_NAME.search(name) and "/" in value):
        return False
    return _SHORT_SECRET_NAME.search(name) is not None or len(value) >= 16


def split_marks(env: object) -> tuple[object, set[str]]:
    """Replace each `{value: TEXT, secret: false}` in `env` by TEXT. Returns the new `env` and the names of these variables."""
    if not isinstance(env, Mapping):
        return env, set()
    marked = {
        name for name, value in env.items() if isinstance(value, Mapping) and set(value) == {"value", "secret"} and value["secret"] is False
    }
    return {name: value["value"] if name in marked else value for name, value in env.items()}, marked
