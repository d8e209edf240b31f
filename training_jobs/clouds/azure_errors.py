"""What Azure's clients raise, in words and with the exit code that fits; the store and Azure Machine Learning share the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

# Codes of the services' answers. What is in no row goes by its HTTP status; what is no 4xx is taken for a passing fault.
_KINDS: dict[str, str] = {
    **dict.fromkeys(("AccountIsDisabled", "AuthenticationFailed", "AuthorizationFailed", "AuthorizationFailure",
                     "AuthorizationPermissionMismatch", "AuthorizationProtocolMismatch", "AuthorizationSourceIPMismatch",
                     "ContainerDisabled", "InsufficientAccountPermissions", "InvalidAuthenticationInfo", "InvalidAuthenticationToken",
                     "InvalidAuthenticationTokenTenant", "KeyBasedAuthenticationNotPermitted", "LinkedAuthorizationFailed",
                     "NoAuthenticationInformation", "PublicAccessNotPermitted", "RequestDisallowedByPolicy"), "denied"),
    **dict.fromkeys(("ExpiredAuthenticationToken", "AuthenticationExpired"), "expired"),
    **dict.fromkeys(("AccountLimitExceeded", "ClusterCoreQuotaReached", "CoreQuotaExceeded", "OperationNotAllowed", "QuotaExceeded",
                     "ResourceQuotaExceeded", "VmQuotaExceeded"), "quota"),
    **dict.fromkeys(("AllocationFailed", "OverconstrainedAllocationRequest", "SkuNotAvailable", "SpotCapacityNotAvailable",
                     "ZonalAllocationFailed"), "capacity"),
    **dict.fromkeys(("ContainerNotFound", "ContainerBeingDeleted", "FilesystemNotFound", "ResourceGroupNotFound",
                     "SubscriptionNotFound"), "missing"),
    **dict.fromkeys(("InternalError", "OperationTimedOut", "ServerBusy", "TooManyRequests"), "passing"),
}  # fmt: skip
_STATUSES = {401: "denied", 403: "denied", 404: "missing", 408: "passing", 429: "passing"}


def service_error() -> type[Any]:
    """The class of a service's refusal, loaded on use."""
    from azure.core.exceptions import HttpResponseError

    return HttpResponseError


def client_errors() -> type[Exception]:
    """All that the clients raise."""
    from azure.core.exceptions import AzureError

    return AzureError


def error_code(error: Any) -> str:
    """The service's own word for a refusal; empty where it has none."""
    found = getattr(error, "error_code", None) or getattr(getattr(error, "error", None), "code", None) or ""
    return str(getattr(found, "value", found))


def error_kind(error: Any) -> str:
    """What an error means for us: passing, unsent, expired, denied, quota, capacity, missing or other."""
    from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

    status = getattr(error, "status_code", None)
    if isinstance(error, ServiceRequestError):
        return "unsent"
    if status is None:  # no answer of the service asked: no credentials, or no answer at all
        return "denied" if isinstance(error, ClientAuthenticationError) else "passing"
    if isinstance(error, ClientAuthenticationError) and "login.microsoftonline" in str(getattr(error.response, "url", "")):
        return "denied"
    return _KINDS.get(error_code(error)) or _STATUSES.get(status) or ("other" if 400 <= status < 500 else "passing")


def translate_error(error: Exception, what: str, forget: Callable[[], None] = lambda: None, *, watching: bool = False) -> GpuyardError:
    """A refusal or a fault in words. `what` says what was tried; `forget` drops clients whose credentials are of no use any more.

    `watching`: a job may be running already, so what ran out is only the sight of it.
    """
    kind, code = error_kind(error), error_code(error)
    said = ": ".join(part for part in (code, _message(error)) if part)
    if kind in {"expired", "denied"}:
        forget()
        if kind == "expired" or (watching and getattr(error, "status_code", None) in (None, 401)):
            text = f"cannot {what}: {said}; sign in again (az login, or the pipeline's identity)"
            return LostSightError(f"{text}; the job may still run") if watching else AuthError(text)
        if getattr(error, "status_code", None) is None:
            return AuthError(f"cannot {what}: no usable Azure credentials ({said}); sign in (az login), or give the pipeline an identity")
        return AuthError(f"cannot {what}: not permitted ({said}); the stack's submitter may")
    if kind == "quota":
        return QuotaError(f"cannot {what}: {said}; ask for more in the portal's Quotas, `gpuyard plan` names what")
    if kind == "capacity":
        return CapacityError(f"cannot {what}: {said}")
    if kind == "missing":
        return NotFoundError(f"cannot {what}: {said}")
    return UsageError(f"cannot {what}: {said}") if kind == "other" else LostSightError(f"cannot {what} at present: {said}")


def _message(error: Any) -> str:
    """One line, nothing after a question mark: a signed URL keeps its signature there."""
    text = getattr(getattr(error, "error", None), "message", None) or getattr(error, "message", None) or str(error)
    line = " ".join(str(text).split("\nRequestId:")[0].split())
    return " ".join(word.split("?", 1)[0] for word in line.split(" "))[:400]
