"""Secret references become values here, on the node, in the environment of the workers and nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .ended import IO_ERROR, EndedError
from .hook import BAD_CONFIG


def resolve(references: Mapping[str, str]) -> dict[str, str]:
    """The value of each variable.

    Raises EndedError naming what cannot be had, and never a value: 64 for every one that never can, 74 for the first that may
    be there for a later attempt.
    """
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


_CERTAIN = {
    "AccessDeniedException", "DecryptionFailure", "InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException",
    "UnrecognizedClientException", "ValidationException",
}  # fmt: skip


def _aws(reference: str) -> str:
    """A secret of AWS Secrets Manager by its ARN, read with the node's own role in the ARN's own region."""
    parts = reference.split(":")
    if len(parts) != 7 or parts[2] != "secretsmanager" or parts[5] != "secret":
        raise ValueError(f"got {reference}, allowed: arn:aws:secretsmanager:<region>:<account>:secret:<name>, one plain value to a secret")
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise ValueError(f"{reference} cannot be read by this image: {error}. Fix: pip install boto3") from None
    try:
        patience = Config(retries={"mode": "standard", "total_max_attempts": 8})
        client = boto3.session.Session().client("secretsmanager", region_name=parts[3], config=patience)
        answer = client.get_secret_value(SecretId=reference)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _CERTAIN:
            raise ValueError(f"{reference} cannot be read: {code}; the job's role needs secretsmanager:GetSecretValue on it") from None
        raise EndedError(IO_ERROR, f"{reference} cannot be read at present: {code}") from None
    except BotoCoreError as error:
        raise EndedError(IO_ERROR, f"{reference} cannot be read at present: {type(error).__name__}") from None
    if "SecretString" not in answer:
        raise ValueError(f"{reference} holds bytes, not text")
    return str(answer["SecretString"])


_SCHEMES: dict[str, Callable[[str], str]] = {"file": _file, "arn": _aws}
