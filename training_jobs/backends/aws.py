"""What the AWS services share: clients, calls that must not happen twice, tags and images."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import GpuyardError, LostSightError, Problem, UsageError
from ..run import Run
from ..store.aws_errors import explain, kind_of

T = TypeVar("T")
_AGAIN_S = (1.0, 2.0, 4.0, 8.0)
"""Between the tries of a call that starts something, and between the looks for what it may have started."""
WITHIN_S = 30.0
"""How long after its record was written a call may still be begun: with the time it takes that is less than the 60 s after
which another submit takes the record over and looks for what is there by then."""


class Aws:
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
                if kind_of(error) != "expired" or renewed:
                    raise explain(error, f"call {service} {operation}", watching=watching) from error
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


def shared(region: str) -> Aws:
    """The clients of this process for a region. Another profile, other keys or endpoints in the environment get clients of their own."""
    return _shared(region, tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@functools.lru_cache(maxsize=16)
def _shared(region: str, environment: tuple[tuple[str, str], ...]) -> Aws:
    return Aws(region)


def once(attempt: Callable[[], T], find: Callable[[], T | None], sleep: Callable[[float], None] = time.sleep, *, until: float) -> T:
    """Make a call that starts something and carries no token of its own, so that it starts it once.

    A call that was refused is made again. After an answer that says nothing, or that never came, `find` looks whether it was
    made all the same. Raises LostSightError where that stays open, and where it is `until` (monotonic) already: the record of the
    run is there, and the next submit looks again.
    """
    for pause in (*_AGAIN_S, None):
        if time.monotonic() > until:
            raise LostSightError("the service was too slow to be asked for the job; submit again in a minute")
        try:
            return attempt()
        except GpuyardError as error:
            kind = kind_of(error.__cause__)
            if kind not in {"throttled", "unsent", "server", "lost"} or pause is None:
                raise
        if kind in {"throttled", "unsent"}:
            sleep(pause)
            continue
        found = _look(find, sleep)
        if found is not None:
            return found
        if kind == "lost":
            text = "the service never answered whether it took the job, and does not list it yet; submit again in a minute: it is looked up"
            raise LostSightError(text)
    raise AssertionError("the last try returns or raises")


def _look(find: Callable[[], T | None], sleep: Callable[[float], None]) -> T | None:
    for pause in _AGAIN_S[:3]:
        sleep(pause)
        found = find()
        if found is not None:
            return found
    return None


def image_of(run: Run) -> str:
    """The image of a run: the job's own, by digest, or the target's. Raises UsageError with the line that pins it."""
    own, default = run.spec.image, run.target.default_image
    if own is not None and not re.search(r"@sha256:[0-9a-f]{64}$", own):
        fix = "pin it: gpuyard pin <job file>"
        raise UsageError(
            "the image can change under the job", [Problem("image", "not named by digest", own, "<name>@sha256:<digest>", fix)]
        )
    image = own or default
    if image is None:
        fix = "set image: in the job file and pin it: gpuyard pin <job file>; or set pins.job_image in the stack"
        raise UsageError("no image to run", [Problem("image", f"neither the job nor pool '{run.target.pool}' names one", fix=fix)])
    return image


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
