"""Translate errors of Azure's clients into gpuyard's errors: one table for the Blob store and Azure Machine Learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

__all__ = ["client_errors", "error_code", "error_kind", "service_error", "translate_error"]

# Error codes of the services by kind. For a code in no row the HTTP status decides; a status that is not 4xx is "passing".
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
# Codes of a storage firewall: learn.microsoft.com/troubleshoot/azure/azure-storage/blobs/authentication/storage-troubleshoot-403-errors
_NETWORK = {"AuthorizationFailure", "AuthorizationSourceIPMismatch"}
_IDENTITY = "sign in as the stack's submitter identity"
_ADDRESS = (
    "the account's network rules refuse this address: add it to the run bucket's open_to; such rules do nothing for a machine in the "
    "account's own region: connect its network to a pool's, or run it in another region"
)
_STATUSES = {401: "denied", 403: "denied", 404: "missing", 408: "passing", 429: "passing"}


def service_error() -> type[Any]:
    """Return azure-core's class for errors that a service returned. azure-core is untyped here."""
    from azure.core.exceptions import HttpResponseError

    return HttpResponseError


def client_errors() -> type[Exception]:
    """Return the base class of every error that Azure's clients raise."""
    from azure.core.exceptions import AzureError

    return AzureError


def error_code(error: Any) -> str:
    """Return the error code of a service's answer; empty if the answer has no code."""
    found = getattr(error, "error_code", None) or getattr(getattr(error, "error", None), "code", None) or ""
    return str(getattr(found, "value", found))


def error_kind(error: Any) -> str:
    """Return the kind of an error: passing, unsent, expired, denied, quota, capacity, missing or other.

    unsent = the call was not made. passing = a temporary fault; the call may have been made.
    """
    from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

    status = getattr(error, "status_code", None)
    if isinstance(error, ServiceRequestError):
        return "unsent"
    if status is None:  # no credentials, or no answer
        return "denied" if isinstance(error, ClientAuthenticationError) else "passing"
    if isinstance(error, ClientAuthenticationError) and "login.microsoftonline" in str(getattr(error.response, "url", "")):
        return "denied"
    return _KINDS.get(error_code(error)) or _STATUSES.get(status) or ("other" if 400 <= status < 500 else "passing")


def translate_error(
    error: Exception, action: str, drop_clients: Callable[[], None] = lambda: None, *, job_may_run: bool = False
) -> GpuyardError:
    """Return the GpuyardError for an error of a client. `action`: the failed action, such as `read abfs://runs@.../a`.

    `drop_clients` is called when the credentials were refused. `job_may_run`: a job may already be running, so expired credentials
    give LostSightError instead of AuthError.
    """
    kind, code = error_kind(error), error_code(error)
    message = ": ".join(part for part in (code, _message(error)) if part)
    if kind in {"expired", "denied"}:
        drop_clients()
        if kind == "expired" or (job_may_run and getattr(error, "status_code", None) in (None, 401)):
            text = f"cannot {action}: {message}; sign in again (az login), or renew the pipeline's identity"
            return LostSightError(f"{text}; the job may still run") if job_may_run else AuthError(text)
        if getattr(error, "status_code", None) is None:
            return AuthError(
                f"cannot {action}: no usable Azure credentials ({message}); sign in (az login), or give the pipeline an identity"
            )
        return AuthError(f"cannot {action}: not permitted ({message}); {_ADDRESS if code in _NETWORK else _IDENTITY}")
    if kind == "quota":
        return QuotaError(f"cannot {action}: {message}; ask for a higher quota under Quotas in the portal (`gpuyard plan` names the quota)")
    if kind == "capacity":
        return CapacityError(f"cannot {action}: {message}")
    if kind == "missing":
        return NotFoundError(f"cannot {action}: {message}")
    return UsageError(f"cannot {action}: {message}") if kind == "other" else LostSightError(f"cannot {action} at present: {message}")


def _message(error: Any) -> str:
    """Return the message as one line. The queries of URLs are removed, because they may contain a signature."""
    text = getattr(getattr(error, "error", None), "message", None) or getattr(error, "message", None) or str(error)
    line = " ".join(str(text).split("\nRequestId:")[0].split())
    return " ".join(word.split("?", 1)[0] for word in line.split(" "))[:400]
