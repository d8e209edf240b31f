"""boto3 clients of one region, with timeouts, retries and renewed credentials."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Mapping
from typing import Any

from ...plain_data import PlainMapping
from ..errors import GpuyardError
from . import Json
from .aws_errors import error_kind, translate_error

__all__ = ["AwsClients", "aws_clients"]


class AwsClients:
    """Clients of one region, each created on its first use.

    `session` (a boto3 session) and `endpoints` ({service: URL}) replace boto3's defaults.
    """

    def __init__(self, region: str, *, session: Any = None, endpoints: Mapping[str, str] | None = None) -> None:
        self.region = region
        self._session, self._endpoints = session, dict(endpoints or {})
        self._clients: dict[tuple[str, bool], Any] = {}  # boto3 has no types
        self._lock = threading.Lock()  # threads may share a client, but must not create one at the same time

    def call(self, service: str, operation: str, body: PlainMapping, *, job_may_run: bool = False, single_attempt: bool = False) -> Json:
        """Call a service. `service` and `operation` are boto3's names. Raises a GpuyardError whose cause is botocore's error.

        `job_may_run`: a job may already be running, so expired credentials raise LostSightError instead of AuthError.
        `single_attempt`: do not retry a call that failed.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        renewed = False
        while True:
            try:
                return dict(getattr(self._client(service, single_attempt), operation)(**body))
            except (BotoCoreError, ClientError) as error:
                if error_kind(error) != "expired" or renewed:
                    raise translate_error(error, f"call {service} {operation}", job_may_run=job_may_run) from error
            renewed = True  # the user or the pipeline may have renewed the credentials: a new session reads them again
            with self._lock:
                self._clients.clear()

    @functools.cached_property
    def principal(self) -> str | None:
        """Return the ARN of this process's identity (GetCallerIdentity, which needs no permission). None if STS does not answer."""
        with contextlib.suppress(GpuyardError):
            return str(self.call("sts", "get_caller_identity", {}, single_attempt=True)["Arn"])
        return None

    def _client(self, service: str, single_attempt: bool) -> Any:
        with self._lock:
            if (service, single_attempt) not in self._clients:
                import boto3
                from botocore.config import Config

                session = self._session or boto3.session.Session()
                retries = {"mode": "standard", "total_max_attempts": 1 if single_attempt else 8}
                config = Config(retries=retries, connect_timeout=5, read_timeout=20, max_pool_connections=32)
                endpoint = self._endpoints.get(service)
                client = session.client(service, region_name=self.region, endpoint_url=endpoint, config=config)
                self._clients[service, single_attempt] = client
            return self._clients[service, single_attempt]


def aws_clients(region: str) -> AwsClients:
    """Return this process's clients of a region. They are replaced when the AWS_* environment variables change."""
    return _cached(region, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@functools.lru_cache(maxsize=16)
def _cached(region: str, environment: tuple[tuple[str, str], ...]) -> AwsClients:
    return AwsClients(region)
