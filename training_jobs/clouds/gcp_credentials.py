"""Whose credentials the clients of Google's services take: those of everybody's tools (Application Default Credentials)."""

from __future__ import annotations

import logging
from typing import Any


def credentials(scope: str) -> Any:
    """Those that the environment names, else gcloud's, else the machine's. Raises google.auth's DefaultCredentialsError.

    They are looked for without the scope: with it the library asks Resource Manager for a project that nobody here needs, a call
    that a pipeline's submitter may not make.
    """
    import google.auth
    from google.auth import credentials as known

    scoped: Any = known.with_scopes_if_required  # it has no types
    logging.getLogger("google.auth._default").setLevel(logging.ERROR)  # it warns that it found no project
    return scoped(google.auth.default()[0], [scope])
