"""Translate errors of Google's clients into gpuyard's errors: one table for the GCS store and Vertex AI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

__all__ = ["client_errors", "error_kind", "error_reasons", "translate_error"]

# HTTP statuses. google.api_core.exceptions turns gRPC's codes into them.
_LOST = {408, 499, 500, 502, 504}
"""Statuses after which the call may or may not have been made."""
_THROTTLED = {"RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded"}
_QUOTA = {"QUOTA_EXCEEDED", "RESOURCE_QUOTA_EXCEEDED", "quotaExceeded"}
_QUOTA_WORDS = ("exceed quota limits", "quota exceeded for custom", "exceeds quota", "quota limit reached")
_PER_TIME = ("per minute", "per second", "requests per")
_CAPACITY_WORDS = ("resources are insufficient", "stockout", "insufficient capacity", "resource_pool_exhausted")


def error_kind(error: BaseException | None) -> str:
    """Return the kind of an error: throttled, server, lost, unsent, expired, denied, quota, capacity, missing, changed or other.

    unsent = the call was not made. lost = nobody knows whether the call was made. changed = another writer changed the object first.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, api.RetryError):  # retries gave up; the cause may be an error class of the client
        found = error_kind(error.cause)
        return "lost" if found == "other" else found
    if isinstance(error, api.GoogleAPICallError):
        return _kind_of_answer(error)
    if isinstance(error, auth.DefaultCredentialsError | auth.UserAccessTokenError | auth.MalformedError):
        return "denied"
    if isinstance(error, auth.TransportError) or getattr(error, "retryable", False):
        return "unsent"  # the token is fetched before the call is made
    if isinstance(error, auth.RefreshError | auth.ReauthFailError | auth.OAuthError):
        return "expired"
    if isinstance(error, auth.GoogleAuthError):
        return "denied"
    return _kind_of_transport(error)


def _kind_of_answer(error: Any) -> str:
    code, message = int(error.code or 0), str(error.message).lower()
    reasons = error_reasons(error)
    if code in {401, 403, 429} and any(word in message for word in _CAPACITY_WORDS):
        return "capacity"
    if code in {403, 429}:
        timed = bool(reasons & _THROTTLED) or any(word in message for word in _PER_TIME)
        if not timed and (reasons & _QUOTA or any(word in message for word in _QUOTA_WORDS)):
            return "quota"
        if code == 429 or timed:
            return "throttled"
        return "denied"
    table = {401: "expired", 404: "missing", 409: "server", 412: "changed", 503: "server"}
    return table.get(code) or ("lost" if code in _LOST or code >= 500 else "other")


def _kind_of_transport(error: BaseException | None) -> str:
    import requests

    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return "unsent"
    if isinstance(error, requests.exceptions.RequestException | ConnectionError | TimeoutError):
        return "lost"
    return "other"


def error_reasons(error: Any) -> set[str]:
    """Return the reasons in a service's answer, from ErrorInfo or a JSON error."""
    found = {str(item.get("reason", "")) for item in getattr(error, "errors", ()) or () if isinstance(item, dict)}
    return (found | {str(getattr(error, "reason", None) or "")}) - {""}


def client_errors() -> tuple[type[BaseException], ...]:
    """Return the classes of every error that Google's clients raise."""
    import requests
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    return GoogleAPIError, GoogleAuthError, requests.exceptions.RequestException


def translate_error(
    error: BaseException, action: str, drop_clients: Callable[[], object] = lambda: None, *, job_may_run: bool = False
) -> GpuyardError:
    """Return the GpuyardError for an error of a client. `action`: the failed action, such as `read gs://runs/a`.

    `drop_clients` is called when the credentials were refused. `job_may_run`: a job may already be running, so missing or expired
    credentials give LostSightError instead of AuthError.
    """
    kind, message = error_kind(error), _message(error)
    if kind in {"throttled", "server", "lost", "unsent"}:
        return LostSightError(f"cannot {action} at present: {message}")
    if kind in {"expired", "denied"}:
        drop_clients()
        return _unauthorised(error, kind, action, message, job_may_run=job_may_run)
    if kind == "quota":
        return QuotaError(f"cannot {action}: {message}; `gpuyard plan` names the quota to raise")
    if kind == "capacity":
        return CapacityError(f"cannot {action}: {message}")
    if kind == "missing":
        return NotFoundError(f"cannot {action}: {message}")
    return UsageError(f"cannot {action}: {message}")


def _unauthorised(error: BaseException, kind: str, action: str, message: str, *, job_may_run: bool) -> GpuyardError:
    if getattr(error, "code", None) == 403:
        return AuthError(f"cannot {action}: not permitted ({message}); sign in as the stack's submitter identity")
    fix = "sign in again: gcloud auth application-default login, or use the pipeline's workload identity"
    problem = "the Google credentials have expired" if kind == "expired" else "no usable Google credentials"
    text = f"cannot {action}: {problem} ({message}); {fix}"
    return LostSightError(f"{text}; the job may still run") if job_may_run else AuthError(text)


def _message(error: BaseException) -> str:
    """Return the reason and the message as one line. The error's other arguments are left out, because they may contain tokens."""
    message = getattr(error, "message", None)
    first = error.args[0] if error.args else ""
    name = ", ".join(sorted(error_reasons(error))) or type(error).__name__
    return f"{name}: {_line(str(message if message is not None else first))}".rstrip(": ")


def _line(text: str) -> str:
    """Return a text as one line. The queries of URLs are removed, because they may contain a signature."""
    line = " ".join(text.split())
    return " ".join(word.split("?", 1)[0] for word in line.split(" "))[:400]
