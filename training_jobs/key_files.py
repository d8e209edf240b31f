"""Recognise files that usually contain private keys or passwords, by their names."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["is_key_file"]

_KEYS = re.compile(
    r"\.env(\..+)?|\.envrc|\.netrc|\.git-credentials|\.pgpass|\.pypirc|\.npmrc|\.htpasswd|\.boto|\.s3cfg|kubeconfig"
    r"|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.+\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk|publishsettings)"
    r"|(application_default_)?credentials(\.json)?|client_secret.*\.json|service[_-]account.*\.json",
    re.IGNORECASE,
)
_KEY_FOLDERS = {".ssh", ".aws", ".azure", ".gcloud", ".gnupg", ".kube", ".docker"}
_EXAMPLE = re.compile(r"(?i).*\.(example|sample|template|dist|pub)")


def is_key_file(path: Path, is_folder: bool) -> bool:
    """Return whether the name of a file or folder suggests keys or passwords. For a link, its target's name counts too."""
    names = [path.name, path.resolve().name]
    if is_folder:
        return any(name in _KEY_FOLDERS for name in names)
    return any(_KEYS.fullmatch(name) and not _EXAMPLE.fullmatch(name) for name in names)
