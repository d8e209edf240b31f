"""What Google's clients raise, in words and with the exit code that fits; the store and the GCP services share the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

# HTTP statuses: gRPC's codes are turned into them by the client (google.api_core.exceptions).
_LOST = {408, 499, 500, 502, 504}
"""They do not say whether it was done."""
_THROTTLED = {"RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded"}
_QUOTA = {"QUOTA_EXCEEDED", "RESOURCE_QUOTA_EXCEEDED", "quotaExceeded"}
_QUOTA_WORDS = ("exceed quota limits", "quota exceeded for custom", "exceeds quota", "quota limit reached")
_PER_TIME = ("per minute", "per second", "requests per")
_CAPACITY_WORDS = ("resources are insufficient", "stockout", "insufficient capacity", "resource_pool_exhausted")


def error_kind(error: BaseException | None) -> str:
    """What an error means for us: throttled, server, lost, unsent, expired, denied, quota, capacity, missing, beaten or other."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, api.RetryError):  # it gave up; the cause may be of a class of the client's own
        found = error_kind(error.cause)
        return "lost" if found == "other" else found
    if isinstance(error, api.GoogleAPICallError):
        return _kind_of_answer(error)
    if isinstance(error, auth.DefaultCredentialsError | auth.UserAccessTokenError | auth.MalformedError):
        return "denied"
    if isinstance(error, auth.TransportError) or getattr(error, "retryable", False):
        return "unsent"  # the call for a token goes before the call itself
    if isinstance(error, auth.RefreshError | auth.ReauthFailError | auth.OAuthError):
        return "expired"
    if isinstance(error, auth.GoogleAuthError):
        return "denied"
    return _kind_of_transport(error)


def _kind_of_answer(error: Any) -> str:
    code, said = int(error.code or 0), str(error.message).lower()
    reasons = reasons_of(error)
    if code in {401, 403, 429} and any(word in said for word in _CAPACITY_WORDS):
        return "capacity"
    if code in {403, 429}:
        timed = bool(reasons & _THROTTLED) or any(word in said for word in _PER_TIME)
        if not timed and (reasons & _QUOTA or any(word in said for word in _QUOTA_WORDS)):
            return "quota"
        if code == 429 or timed:
            return "throttled"
        return "denied"
    table = {401: "expired", 404: "missing", 409: "server", 412: "beaten", 503: "server"}
    return table.get(code) or ("lost" if code in _LOST or code >= 500 else "other")


def _kind_of_transport(error: BaseException | None) -> str:
    import requests

    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return "unsent"
    if isinstance(error, requests.exceptions.RequestException | ConnectionError | TimeoutError):
        return "lost"
    return "other"


def reasons_of(error: Any) -> set[str]:
    """The service's own words for a refusal: ErrorInfo's reason, or those of a JSON error."""
    found = {str(item.get("reason", "")) for item in getattr(error, "errors", ()) or () if isinstance(item, dict)}
    return (found | {str(getattr(error, "reason", None) or "")}) - {""}


def client_errors() -> tuple[type[BaseException], ...]:
    """The classes of all that Google's clients raise."""
    import requests
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    return GoogleAPIError, GoogleAuthError, requests.exceptions.RequestException


def translate_error(
    error: BaseException, what: str, forget: Callable[[], object] = lambda: None, *, watching: bool = False
) -> GpuyardError:
    """A refusal or a fault in words. `what` says what was tried; `forget` drops a client whose credentials are of no use any more.

    `watching`: a job may be running already, so what ran out is only the sight of it.
    """
    kind, said = error_kind(error), _said(error)
    if kind in {"throttled", "server", "lost", "unsent"}:
        return LostSightError(f"cannot {what} at present: {said}")
    if kind in {"expired", "denied"}:
        forget()
        return _unauthorised(error, kind, what, said, watching=watching)
    if kind == "quota":
        return QuotaError(f"cannot {what}: {said}; `gpuyard plan` names the quota to raise")
    if kind == "capacity":
        return CapacityError(f"cannot {what}: {said}")
    if kind == "missing":
        return NotFoundError(f"cannot {what}: {said}")
    return UsageError(f"cannot {what}: {said}")


def _unauthorised(error: BaseException, kind: str, what: str, said: str, *, watching: bool) -> GpuyardError:
    if getattr(error, "code", None) == 403:
        return AuthError(f"cannot {what}: not permitted ({said}); the stack's submitter may")
    fix = "sign in again: gcloud auth application-default login, or the pipeline's workload identity"
    words = "the Google credentials have expired" if kind == "expired" else "no usable Google credentials"
    text = f"cannot {what}: {words} ({said}); {fix}"
    return LostSightError(f"{text}; the job may still run") if watching else AuthError(text)


def _said(error: BaseException) -> str:
    """One line, nothing after a question mark: a signed URL keeps its signature there. What else an error carries may be an answer."""
    message = getattr(error, "message", None)
    first = error.args[0] if error.args else ""
    name = ", ".join(sorted(reasons_of(error))) or type(error).__name__
    return f"{name}: {_line(str(message if message is not None else first))}".rstrip(": ")


def _line(text: str) -> str:
    line = " ".join(text.split())
    return " ".join(word.split("?", 1)[0] for word in line.split(" "))[:400]
