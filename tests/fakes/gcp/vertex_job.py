"""One custom job of the fake Vertex AI."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

OVER = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}


@dataclass
class Job:
    """One custom job: its message, and the requests to the thread that runs it."""

    message: Any
    created: float = field(default_factory=time.time)
    cancel: threading.Event = field(default_factory=threading.Event)
    preempt: threading.Event = field(default_factory=threading.Event)
    holds: int = 0

    @property
    def nodes(self) -> int:
        """The number of replicas."""
        return sum(pool.replica_count for pool in self.message.job_spec.worker_pool_specs)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.message.state.name in OVER

    @property
    def id(self) -> str:
        """The last part of its name."""
        return str(self.message.name).rsplit("/", 1)[-1]
