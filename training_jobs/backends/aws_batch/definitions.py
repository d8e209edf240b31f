"""Job definitions of one pool: registered when content is new, retired when there are too many."""

from __future__ import annotations

import contextlib
from typing import Any

from ...clouds.aws import AwsClients
from ...errors import GpuyardError
from ...target import BatchTarget
from .request import definitions_prefix

KEPT = 20
"""Active definitions of a pool. What is retired is registered again when a job needs it; running jobs do not notice."""


class Definitions:
    """The definitions whose names begin with the pool's prefix."""

    def __init__(self, aws: AwsClients, target: BatchTarget) -> None:
        self._aws, self._prefix = aws, definitions_prefix(target)

    def ensure(self, body: dict[str, Any]) -> bool:
        """Register a definition unless one of its name, and so of its content, is active. Whether that was needed."""
        wanted = {"jobDefinitionName": body["jobDefinitionName"], "status": "ACTIVE"}
        if self._aws.call("batch", "describe_job_definitions", wanted)["jobDefinitions"]:
            return False
        self._aws.call("batch", "register_job_definition", body)
        with contextlib.suppress(GpuyardError):  # tidying must not keep a job from being submitted
            self._retire(body["jobDefinitionName"])
        return True

    def _retire(self, newest: str) -> None:
        """Deregister what is beyond the number kept: revisions that a newer one of the same content replaced, then whole names."""
        active: dict[str, list[dict[str, Any]]] = {}
        token: dict[str, str] = {}
        while True:
            page = self._aws.call("batch", "describe_job_definitions", {"status": "ACTIVE", **token})
            for found in page["jobDefinitions"]:
                if found["jobDefinitionName"].startswith(self._prefix):
                    active.setdefault(found["jobDefinitionName"], []).append(found)
            if not page.get("nextToken"):
                break
            token = {"nextToken": page["nextToken"]}
        old: list[str] = []
        for revisions in active.values():
            revisions.sort(key=lambda revision: int(revision["revision"]))
            old += [str(revision["jobDefinitionArn"]) for revision in revisions[:-1]]
        names = sorted(name for name in active if name != newest)
        old += [str(active[name][-1]["jobDefinitionArn"]) for name in names[: max(0, len(active) - KEPT)]]
        for arn in old:
            self._aws.call("batch", "deregister_job_definition", {"jobDefinition": arn})
