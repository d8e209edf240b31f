"""Translate errors of boto3 into gpuyard's errors: one table of error codes for the S3 store and the AWS services."""

from __future__ import annotations

import re
from typing import Any

from ..errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

__all__ = ["error_code", "error_kind", "service_error", "translate_error"]

_SIGNATURE_CODES = {"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException"}
"""Error codes whose messages are never shown: they repeat the signed request with its session token."""
# Error codes of the services by kind. For a code in no row the HTTP status decides: 429 throttled, 4xx refused, else server.
_CODES: dict[str, set[str]] = {
    "throttled": {
        "BandwidthLimitExceeded", "EC2ThrottledException", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
        "RequestThrottled", "RequestThrottledException", "SlowDown", "ThrottledException", "Throttling", "ThrottlingException",
        "TooManyRequestsException",
    },
    "server": {
        "InternalError", "InternalFailure", "InternalServerError", "PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException",
        "ServiceUnavailable", "TransactionInProgressException",
    },
    "expired": {"CredentialsExpired", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"},
    "denied": {
        "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem", "AuthFailure", "403", "Forbidden", "401",
        "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "InvalidSecurity", "MissingAuthenticationToken",
        "MissingAuthenticationTokenException", "NotAuthorized", "NotSignedUp", "OptInRequired", "SubscriptionRequiredException",
        "UnauthorizedOperation", "UnrecognizedClientException", "KMS.DisabledException", "KMS.NotFoundException",
        "KMS.KMSInvalidStateException", *_SIGNATURE_CODES,
    },
    "quota": {
        "LimitExceeded", "LimitExceededException", "QuotaExceeded", "QuotaExceededException", "ResourceLimitExceeded",
        "ServiceQuotaExceededException", "TooManyBuckets", "VcpuLimitExceeded",
    },
    "capacity": {"CapacityError", "InsufficientCapacityException", "InsufficientInstanceCapacity"},
    "missing": {"NoSuchBucket", "ResourceNotFound", "ResourceNotFoundException"},
}  # fmt: skip
# Classes of botocore's own errors, by name, because other versions of botocore may lack some. A class in no row is "lost".
_CLASSES: dict[str, set[str]] = {
    "denied": {
        "ConfigNotFound", "ConfigParseError", "CredentialRetrievalError", "InfiniteLoopConfigError", "InvalidConfigError", "LoginError",
        "NoAuthTokenError", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "RefreshWithMFAUnsupportedError",
        "SSOError", "SSOTokenLoadError", "TokenRetrievalError", "UnauthorizedSSOTokenError",
    },
    "refused": {
        "InvalidEndpointConfigurationError", "InvalidRegionError", "NoRegionError", "ParamValidationError", "UnknownServiceError",
    },
    "unsent": {"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"},
}  # fmt: skip


def service_error() -> type[Any]:
    """Return botocore's class for errors that a service returned. botocore is untyped."""
    from botocore.exceptions import ClientError

    return ClientError  # type: ignore[no-any-return]


def error_code(error: BaseException | None) -> str:
    """Return the error code of a service's answer. Without an answer, return the name of botocore's error class."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else type(error).__name__


def error_kind(error: BaseException | None) -> str:
    """Return the kind of an error: throttled, server, lost, unsent, expired, denied, quota, capacity, missing or refused.

    unsent = the call was not made. lost = nobody knows whether the call was made.
    """
    if not isinstance(error, service_error()):
        names = {kind.__name__ for kind in type(error).__mro__}
        return next((kind for kind, classes in _CLASSES.items() if names & classes), "lost")
    code, status = error_code(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    found = next((kind for kind, codes in _CODES.items() if code in codes), None)
    return found or ("throttled" if status == 429 else "refused" if 400 <= status < 500 else "server")


def translate_error(error: BaseException, action: str, *, job_may_run: bool = False) -> GpuyardError:
    """Return the GpuyardError for an error of boto3. `action`: the failed action, such as `read s3://runs/a`.

    `job_may_run`: a job may already be running, so missing or expired credentials give LostSightError instead of AuthError.
    """
    kind, code = error_kind(error), error_code(error)
    message = code if code in _SIGNATURE_CODES else f"{code}: {_message(error)}".rstrip(": ")
    if kind in {"throttled", "server", "lost", "unsent"}:
        return LostSightError(f"cannot {action} at present: {message}")
    if kind == "expired":
        text = (
            f"cannot {action}: the AWS credentials have expired ({message}); sign in again, or renew the credentials of the pipeline's role"
        )
        return LostSightError(f"{text}; the job may still run") if job_may_run else AuthError(text)
    if kind == "denied" and not isinstance(error, service_error()):
        text = f"cannot {action}: no usable AWS credentials ({message}); sign in, or set AWS_PROFILE"
        return LostSightError(f"{text}; the job may still run") if job_may_run else AuthError(text)
    if kind == "denied":
        return AuthError(f"cannot {action}: not permitted ({message}); use the stack's submitter role")
    if kind == "quota":
        return QuotaError(f"cannot {action}: {message}; ask for a higher quota in Service Quotas (`gpuyard plan` names the quota)")
    error_class = {"capacity": CapacityError, "missing": NotFoundError}.get(kind, UsageError)
    return error_class(f"cannot {action}: {message}")


def _message(error: BaseException) -> str:
    """Return the message as one line. The queries of URLs are removed, because they may contain a signature."""
    response = getattr(error, "response", None)
    text = response.get("Error", {}).get("Message", "") if isinstance(response, dict) else str(error)
    return re.sub(r"\?\S+", "", " ".join(str(text).split()))[:300]
