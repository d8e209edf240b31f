"""How Google Cloud shapes what it makes: ids and links, names, what cannot be changed in place, and the answers to look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.standin.shapes import Shapes

PROJECT, NUMBER, REGION, ZONE = "acme-ml", "123456789012", "us-central1", "us-central1-a"

_FIXED: Mapping[str, frozenset[str]] = {"*": frozenset({"name", "namePrefix", "project", "region", "zone", "network", "location"})}
LOOK_UPS: Mapping[str, Mapping[str, Any]] = {
    "gcp:organizations/getClientConfig:getClientConfig": {
        "accessToken": "",
        "defaultLabels": {},
        "id": PROJECT,
        "project": PROJECT,
        "region": REGION,
        "zone": ZONE,
    },
    "gcp:organizations/getProject:getProject": {"id": f"projects/{PROJECT}", "projectId": PROJECT, "number": NUMBER, "name": PROJECT},
}


def _made(token: str, urn: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id is the resource's path below its project; the link is that with the service in front."""
    name = str(inputs.get("name") or urn.rpartition("::")[2])
    service, _, rest = token.removeprefix("gcp:").partition("/")
    kind = rest.partition(":")[0] + "s"
    where = f"zones/{inputs['zone']}" if "zone" in inputs else f"regions/{inputs['region']}" if "region" in inputs else "global"
    path = f"projects/{inputs.get('project', PROJECT)}/{where}/{kind}/{name}"
    return path, {"selfLink": f"https://www.googleapis.com/{service}/v1/{path}"}


def _computed(name: str, made_id: str) -> Any:
    return {"project": PROJECT, "region": REGION, "zone": ZONE}.get(name)


def _name(token: str, label: str, drawn: str) -> str:
    return drawn.lower()


SHAPES = Shapes(
    look_ups=LOOK_UPS,
    fixed=_FIXED,
    renewed={},
    named_by={},
    made=_made,
    held=frozenset({"gcp:compute/network:Network", "gcp:compute/subnetwork:Subnetwork"}),
    computed=_computed,
    name=_name,
)
