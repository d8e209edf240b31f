"""Google's Application Default Credentials, for the clients and the GCS store."""

from __future__ import annotations

import logging
from typing import Any

from .token_claims import read_claims

__all__ = ["default_credentials", "principal_of"]


def default_credentials(scope: str) -> Any:
    """Return the credentials: from the environment, else gcloud's, else the machine's. Raises google.auth's DefaultCredentialsError.

    The scope is added afterwards. Otherwise the library would ask Resource Manager for a project, for which a pipeline's submitter
    has no permission. google.auth has no types.
    """
    import google.auth
    from google.auth import credentials

    add_scopes: Any = credentials.with_scopes_if_required
    logging.getLogger("google.auth._default").setLevel(logging.ERROR)  # it warns that it found no project
    return add_scopes(google.auth.default()[0], [scope])


def principal_of(credentials: Any) -> str | None:
    """Return the service account, user or workload of refreshed credentials; None if unknown.

    The ID token of gcloud's user credentials contains the user's mail address. The token of a workload contains only its subject
    (google-auth 2: google.oauth2.credentials, google.auth.external_account).
    """
    if email := getattr(credentials, "service_account_email", None):
        return str(email)
    if email := read_claims(getattr(credentials, "id_token", None)).get("email") or getattr(credentials, "account", None):
        return str(email)
    if hasattr(credentials, "retrieve_subject_token"):
        import requests
        from google.auth.transport.requests import Request

        with requests.Session() as session:
            return read_claims(credentials.retrieve_subject_token(Request(session))).get("sub")
    return None
