"""Google's Application Default Credentials, for the clients and the GCS store."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["default_credentials"]


def default_credentials(scope: str) -> Any:
    """Return the credentials: from the environment, else gcloud's, else the machine's. Raises google.auth's DefaultCredentialsError.

    The scope is added afterwards: with a scope the library also asks Resource Manager for a project, which a pipeline's submitter
    may not do. google.auth has no types.
    """
    import google.auth
    from google.auth import credentials

    add_scopes: Any = credentials.with_scopes_if_required
    logging.getLogger("google.auth._default").setLevel(logging.ERROR)  # it warns that it found no project
    return add_scopes(google.auth.default()[0], [scope])
