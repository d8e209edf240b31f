"""What AWS's client raises, in words and with the exit code that fits; the store and the AWS services share the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import AuthError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError

# Codes of the services' answers. What is in no row and is not a 4xx is taken for a passing fault: the job may still run.
_AUTH = {
    "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem", "AuthFailure", "403", "Forbidden", "401",
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "MissingAuthenticationToken", "NotSignedUp", "OptInRequired",
    "SignatureDoesNotMatch", "UnauthorizedOperation", "UnrecognizedClientException", "InvalidToken", "InvalidSecurity",
    "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "CredentialsExpired"}
_QUOTA = {"LimitExceededException", "QuotaExceeded", "QuotaExceededException", "ResourceLimitExceeded", "ServiceQuotaExceededException",
          "TooManyBuckets"}  # fmt: skip
_MISSING = {"NoSuchBucket", "ResourceNotFound", "ResourceNotFoundException"}
_PASSING = {
    "BandwidthLimitExceeded", "EC2ThrottledException", "InternalError", "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "RequestTimeout",
    "RequestTimeoutException", "ServiceUnavailable", "SlowDown", "ThrottledException", "Throttling", "ThrottlingException",
    "TooManyRequestsException", "TransactionInProgressException",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "SSOTokenLoadError",
    "UnauthorizedSSOTokenError", "ProfileNotFound", "InvalidConfigError", "NoAuthTokenError", "RefreshWithMFAUnsupportedError",
    "ConfigNotFound", "ConfigParseError", "InfiniteLoopConfigError", "SSOError", "LoginError",
}  # fmt: skip
_BAD_INPUT = {"ParamValidationError", "NoRegionError", "InvalidRegionError", "UnknownServiceError", "InvalidEndpointConfigurationError"}


def refusal() -> type[Any]:
    """The class of a service's refusal, loaded on use."""
    from botocore.exceptions import ClientError

    return ClientError  # type: ignore[no-any-return]


def code_of(error: Any) -> str:
    """The service's own word for a refusal."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: Exception, what: str, forget: Callable[[], None] = lambda: None) -> GpuyardError:
    """A refusal or a fault in words. `what` says what was tried; `forget` drops a client whose credentials are of no use any more."""
    if isinstance(error, refusal()):
        return _refused(error, what, forget)
    names = {kind.__name__ for kind in type(error).__mro__}
    text = _without_values(str(error))
    if names & _NO_CREDENTIALS:
        forget()
        return AuthError(f"cannot {what}: no usable AWS credentials ({text}); sign in, or set AWS_PROFILE")
    if names & _BAD_INPUT:
        return UsageError(f"cannot {what}: {text}")
    return LostSightError(f"cannot {what} at present: {text}")


def _refused(error: Any, what: str, forget: Callable[[], None]) -> GpuyardError:
    code, status = code_of(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = str(error.response.get("Error", {}).get("Message", ""))
    # Its first line: below it, a refused signature is told with all that was signed, session token included.
    said = f"{code}: {_without_values(message.split(chr(10), 1)[0])}".rstrip(": ")
    if code in _EXPIRED:
        forget()
        return AuthError(f"cannot {what}: the AWS credentials have expired ({said}); sign in again")
    if code in _AUTH:
        forget()
        return AuthError(f"cannot {what}: not permitted ({said}); the stack's submitter role may")
    if code in _QUOTA:
        return QuotaError(f"cannot {what}: {said}; ask for more in Service Quotas")
    if code in _MISSING:
        return NotFoundError(f"cannot {what}: {said}")
    if code in _PASSING or not 400 <= status < 500 or status == 429:
        return LostSightError(f"cannot {what} at present: {said}")
    return UsageError(f"cannot {what}: {said}")


def _without_values(text: str) -> str:
    """One line, nothing after a question mark: a signed URL keeps its signature there."""
    line = " ".join(text.split())
    return " ".join(word.split("?", 1)[0] for word in line.split(" "))
