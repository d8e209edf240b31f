"""Register the job definitions of one pool, and deregister old ones when there are too many."""

from __future__ import annotations

import contextlib

from ...clouds import Json
from ...clouds.aws import AwsClients
from ...errors import GpuyardError
from ...target import BatchTarget
from .request import definitions_prefix

__all__ = ["KEPT", "Definitions"]

KEPT = 20
"""Maximum number of active definitions of a pool. A submit registers a missing definition again. Running jobs are not affected."""


class Definitions:
    """The job definitions whose names begin with the pool's prefix."""

    def __init__(self, aws: AwsClients, target: BatchTarget) -> None:
        self._aws, self._prefix = aws, definitions_prefix(target)

    def ensure(self, body: Json) -> bool:
        """Register a definition if no active definition has its name, which contains a digest of its content.

        Returns whether it was registered.
        """
        wanted = {"jobDefinitionName": body["jobDefinitionName"], "status": "ACTIVE"}
        if self._aws.call("batch", "describe_job_definitions", wanted)["jobDefinitions"]:
            return False
        self._aws.call("batch", "register_job_definition", body)
        with contextlib.suppress(GpuyardError):  # a failed clean-up must not keep a job from being submitted
            self._deregister_old(body["jobDefinitionName"])
        return True

    def _deregister_old(self, newest: str) -> None:
        """Keep only the newest revision of each job definition, and at most KEPT definitions. Never remove the one named `newest`."""
        active = self._active()
        old: list[str] = []
        for revisions in active.values():
            revisions.sort(key=lambda revision: int(revision["revision"]))
            old += [str(revision["jobDefinitionArn"]) for revision in revisions[:-1]]
        names = sorted(name for name in active if name != newest)
        old += [str(active[name][-1]["jobDefinitionArn"]) for name in names[: max(0, len(active) - KEPT)]]
        for arn in old:
            self._aws.call("batch", "deregister_job_definition", {"jobDefinition": arn})

    def _active(self) -> dict[str, list[Json]]:
        """Return the pool's active definitions by name, each with its revisions."""
        active: dict[str, list[Json]] = {}
        token: dict[str, str] = {}
        while True:
            page = self._aws.call("batch", "describe_job_definitions", {"status": "ACTIVE", **token})
            for found in page["jobDefinitions"]:
                if found["jobDefinitionName"].startswith(self._prefix):
                    active.setdefault(found["jobDefinitionName"], []).append(found)
            if not page.get("nextToken"):
                return active
            token = {"nextToken": page["nextToken"]}
