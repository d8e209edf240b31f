"""Who this process is to Azure: one credential for all clients, from where everybody's come, made anew once it was of no use."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def credential() -> Any:
    """azure-identity's DefaultAzureCredential: a pipeline's or machine's identity, else who signed in with `az login`; never a key."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
