"""What AWS's client raises, in words and with the exit code that fits: one table of codes, for the store and for the services."""

from __future__ import annotations

import re
from typing import Any

from ..errors import AuthError, CapacityError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

_UNSIGNED = {"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException"}
"""Their messages repeat the signed request, session token included: never shown."""
# Codes of the services' answers by what they mean. What is in no row is decided by the status: 429, 5xx, else refused.
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
        "KMS.KMSInvalidStateException", *_UNSIGNED,
    },
    "quota": {
        "LimitExceeded", "LimitExceededException", "QuotaExceeded", "QuotaExceededException", "ResourceLimitExceeded",
        "ServiceQuotaExceededException", "TooManyBuckets", "VcpuLimitExceeded",
    },
    "capacity": {"CapacityError", "InsufficientCapacityException", "InsufficientInstanceCapacity"},
    "missing": {"NoSuchBucket", "ResourceNotFound", "ResourceNotFoundException"},
}  # fmt: skip
# Classes of botocore's own faults, by name: a newer or older botocore may lack some. What is in no row was lost on the way.
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
    """The class of a service's refusal, loaded on use."""
    from botocore.exceptions import ClientError

    return ClientError  # type: ignore[no-any-return]


def error_code(error: BaseException | None) -> str:
    """The service's own word for a refusal; of a fault on the way, botocore's class."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else type(error).__name__


def error_kind(error: BaseException | None) -> str:
    """What an error means for us: throttled, server, lost, unsent, expired, denied, quota, capacity, missing or refused."""
    if not isinstance(error, service_error()):
        names = {kind.__name__ for kind in type(error).__mro__}
        return next((kind for kind, classes in _CLASSES.items() if names & classes), "lost")
    code, status = error_code(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    found = next((kind for kind, codes in _CODES.items() if code in codes), None)
    return found or ("throttled" if status == 429 else "refused" if 400 <= status < 500 else "server")


def translate_error(error: BaseException, doing: str, *, watching: bool = False) -> GpuyardError:
    """An error of the client's in words, with the exit code that fits. `doing`: what was tried, such as `read s3://runs/a`.

    `watching`: a job may be running already, so what ran out is only the sight of it.
    """
    kind, code = error_kind(error), error_code(error)
    said = code if code in _UNSIGNED else f"{code}: {_message(error)}".rstrip(": ")
    if kind in {"throttled", "server", "lost", "unsent"}:
        return LostSightError(f"cannot {doing} at present: {said}")
    if kind == "expired":
        text = f"cannot {doing}: the AWS credentials have expired ({said}); sign in again, or renew the pipeline's role"
        return LostSightError(f"{text}; the job may still run") if watching else AuthError(text)
    if kind == "denied" and not isinstance(error, service_error()):
        text = f"cannot {doing}: no usable AWS credentials ({said}); sign in, or set AWS_PROFILE"
        return LostSightError(f"{text}; the job may still run") if watching else AuthError(text)
    if kind == "denied":
        return AuthError(f"cannot {doing}: not permitted ({said}); the stack's submitter role may")
    if kind == "quota":
        return QuotaError(f"cannot {doing}: {said}; ask for more in Service Quotas (`gpuyard plan` names the quota)")
    made = {"capacity": CapacityError, "missing": NotFoundError}.get(kind, UsageError)
    return made(f"cannot {doing}: {said}")


def _message(error: BaseException) -> str:
    """One line, nothing after a question mark: a signed URL keeps its signature there."""
    response = getattr(error, "response", None)
    text = response.get("Error", {}).get("Message", "") if isinstance(response, dict) else str(error)
    return re.sub(r"\?\S+", "", " ".join(str(text).split()))[:300]
