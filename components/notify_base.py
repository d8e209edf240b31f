"""Base class of mail about a yard's jobs and machines: constructor and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Generic, TypeVar

import pulumi

from .base import Component, Tags, keywords_only, validate_spec
from .naming import name_problems
from .pool_base import PoolBase
from .spec import NotifySpec

__all__ = ["NotifyBase", "mail_suffix"]

_PoolT = TypeVar("_PoolT", bound=PoolBase[Component])
_JobsT = TypeVar("_JobsT", bound=Component)


class NotifyBase(Component, Generic[_JobsT, _PoolT]):
    """Base class of every Notify. A cloud's Notify makes the topic, its subscriptions and the rules in `_make`."""

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        email: Sequence[str],
        jobs: _JobsT,
        on: Sequence[str] = ("failed", "stopped", "blocked"),
        pools: Sequence[_PoolT] = (),
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the subscriptions and rules. `jobs`: the job service to watch. `pools`: the `vms` pools to watch."""
        given = {"email": list(email), "on": list(on)}
        spec = validate_spec(NotifySpec, given, f"Notify {name}", self.cloud, name_problems(name))
        super().__init__("Notify", name, given, tags, opts)
        self._make(spec, jobs, pools)
        self.register_outputs(self._outputs())

    def _make(self, spec: NotifySpec, jobs: _JobsT, pools: Sequence[_PoolT]) -> None:
        """Make the resources and set the attributes."""
        raise NotImplementedError


def mail_suffix(address: str) -> str:
    """Return the last part of the name of an address's subscription.

    >>> mail_suffix("ml-platform@acme.io")
    'mail-f15d7847'
    """
    return f"mail-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
