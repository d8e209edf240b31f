"""azure-identity's DefaultAzureCredential, one for all clients of this process."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["default_credential"]


@functools.cache
def default_credential() -> Any:
    """Return the credential of the pipeline or machine, else of `az login`. It is never an account key.

    `default_credential.cache_clear()` makes the next call create a new one. azure-identity has no types.
    """
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
