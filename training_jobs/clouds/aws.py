"""What the AWS services share: clients and tags."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Mapping
from typing import Any

from ...problems import Problem
from ..errors import UsageError
from ..run import Run
from .aws_errors import error_kind, translate_error


class AwsClients:
    """Clients of one region, made when first used. `session` and `endpoints` {service: URL} are injected by tests and proxies."""

    def __init__(self, region: str, *, session: Any = None, endpoints: Mapping[str, str] | None = None) -> None:
        self.region = region
        self._session, self._endpoints = session, dict(endpoints or {})
        self._clients: dict[tuple[str, bool], Any] = {}
        self._making = threading.Lock()  # making a client is not safe between threads, using one is

    def call(self, service: str, operation: str, body: Mapping[str, Any], *, watching: bool = False, once: bool = False) -> dict[str, Any]:
        """One call, named as boto3 names it. Raises a GpuyardError whose cause is botocore's own.

        `watching`: a job may be running already, so what ran out is only the sight of it. `once`: nothing is tried again here.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        renewed = False
        while True:
            try:
                return dict(getattr(self._client(service, once), operation)(**body))
            except (BotoCoreError, ClientError) as error:
                if error_kind(error) != "expired" or renewed:
                    raise translate_error(error, f"call {service} {operation}", watching=watching) from error
            renewed = True  # whoever renews the credentials may have done so: a new session reads them once more
            with self._making:
                self._clients.clear()

    def _client(self, service: str, once: bool) -> Any:
        with self._making:
            if (service, once) not in self._clients:
                import boto3
                from botocore.config import Config

                session = self._session or boto3.session.Session()
                retries = {"mode": "standard", "total_max_attempts": 1 if once else 8}
                config = Config(retries=retries, connect_timeout=5, read_timeout=20, max_pool_connections=32)
                endpoint = self._endpoints.get(service)
                self._clients[service, once] = session.client(service, region_name=self.region, endpoint_url=endpoint, config=config)
            return self._clients[service, once]


def aws_clients(region: str) -> AwsClients:
    """The clients of this process for a region. Another profile, other keys or endpoints in the environment get clients of their own."""
    return _shared(region, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@functools.lru_cache(maxsize=16)
def _shared(region: str, environment: tuple[tuple[str, str], ...]) -> AwsClients:
    return AwsClients(region)


def tags_of(run: Run) -> dict[str, str]:
    """The tags of everything that is made for a run: the stack's, by which policies tell whose it is, and the job's labels."""
    own = {"stack": run.target.stack, "pool": run.target.pool, "run": run.id, "limit": run.limit_reason}
    problems = []
    for key, value in run.spec.labels.items():
        if key in own or key.lower().startswith("aws:"):
            problems.append(Problem(f"labels.{key}", "is set by gpuyard or AWS", fix="rename it"))
        elif not (re.fullmatch(r"[\w .:/=+@-]{1,128}", key) and re.fullmatch(r"[\w .:/=+@-]{0,256}", value)):
            allowed = "letters, digits, spaces and _ . : / = + - @; 128 for the key, 256 for the value"
            problems.append(Problem(f"labels.{key}", "cannot be a tag", f"{key}={value}", allowed))
    if len(run.spec.labels) > 40:
        problems.append(Problem("labels", "too many", str(len(run.spec.labels)), "<= 40"))
    if problems:
        raise UsageError(f"job '{run.spec.name}' has labels that cannot be tags on AWS", problems)
    return {**run.spec.labels, **own}
