"""The spec of SSH access to machines of a scale set: a public key and the private ranges that may connect."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from .fields import Cidr, Spec, cloud_of, invalid

__all__ = ["SSH_KEY", "SshAccess", "SshSpec"]

SSH_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]{40,}( .*)?")
"""Form of a public key."""
_ELSEWHERE = {"aws": "Session Manager", "gcp": "Identity-Aware Proxy", "local": "this machine"}


def _public_key(value: str) -> str:
    if not SSH_KEY.fullmatch(value):
        raise invalid(f"{value[:20]}...", "one line of a public key, ssh-ed25519 or ssh-rsa", "write the public key, never the private key")
    return value


class SshSpec(Spec):
    """SSH access to the machines of `vms` pools, as the user gpuyard."""

    public_key: Annotated[str, AfterValidator(_public_key)] = Field(description="public SSH key, one line such as ssh-ed25519 AAAA...")
    sources: list[Cidr] = Field(
        min_length=1, description="private ranges that may connect to port 22, such as 10.60.254.0/26 of a Bastion subnet or a VPN"
    )


def _refuse_elsewhere(ssh: SshSpec | None, info: ValidationInfo) -> SshSpec | None:
    """Refuse SSH access on clouds that have another way to reach a machine."""
    cloud = cloud_of(info) or info.data.get("cloud")
    if ssh is not None and cloud in _ELSEWHERE:
        allowed = f"cloud: azure; on {cloud} machines are reached through {_ELSEWHERE[str(cloud)]}"
        raise invalid(cloud, allowed, "remove ssh (docs/reach-a-machine.md)")
    return ssh


SshAccess = Annotated[SshSpec | None, AfterValidator(_refuse_elsewhere)]
