"""The security tests' data of each cloud: yards, translation for Checkov, canaries, skips and our own rules."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.pulumi_provider import azure_types
from tests.fakes.pulumi_provider.answers import Origin
from tests.helpers import committed_stacks
from tests.security import arm, terraform
from tests.security.aws import canaries as aws_canaries
from tests.security.aws import own_rules as aws_rules
from tests.security.azure import canaries as azure_canaries
from tests.security.azure import own_rules as azure_rules
from tests.security.canary import Canary
from tests.security.gcp import canaries as gcp_canaries
from tests.security.gcp import own_rules as gcp_rules
from tests.security.rows import Row
from tests.security.rules import Rules

_ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Cloud:
    """One cloud."""

    name: str
    table: Mapping[str, Any]
    """Every type that the translation knows."""
    document: Callable[[list[Row], Mapping[str, Origin]], dict[str, Any]]
    """Return Checkov's input from resources and from the origins of the ids in them."""
    address: Callable[[Row], str]
    """Return Checkov's name of a resource."""
    canaries: tuple[Canary, ...]
    names: Mapping[str, str]
    """Type of a canary -> its name, where other canaries refer to it."""
    origins: Mapping[str, Origin]
    """The ids in canaries that refer to another canary."""
    blind: frozenset[str]
    """Types without a Checkov rule."""
    rules: Rules

    @property
    def yards(self) -> tuple[str, ...]:
        """Return the committed stacks of the cloud. For Azure, a private yard is added, because the committed ones are public."""
        return (*committed_stacks.YARDS.get(self.name, ()), *((committed_stacks.CLOSED,) if self.name == "azure" else ()))

    @property
    def skips(self) -> list[dict[str, str]]:
        """Return the accepted findings."""
        text = (_ROOT / self.name / "skips.toml").read_text(encoding="utf-8")
        return list(tomllib.loads(text).get("skip", []))

    def canary_row(self, canary: Canary) -> Row:
        """Return a canary as a resource."""
        name = self.names.get(canary.token) or f"canary{self.canaries.index(canary)}"
        return Row(canary.token, name, canary.inputs)


def _terraform_address(row: Row) -> str:
    return terraform.address(row.token, row.name)


def _template(resources: list[Row], _: Mapping[str, Origin]) -> dict[str, Any]:
    return arm.template(resources)


def _of(package: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    return {token: row for token, row in table.items() if token.startswith(f"{package}:")}


AWS = Cloud(
    "aws",
    _of("aws", terraform.table()),
    terraform.plan,
    _terraform_address,
    aws_canaries.CANARIES,
    aws_canaries.NAMES,
    aws_canaries.ORIGINS,
    aws_canaries.BLIND,
    aws_rules.RULES,
)
GCP = Cloud(
    "gcp",
    _of("gcp", terraform.table()),
    terraform.plan,
    _terraform_address,
    gcp_canaries.CANARIES,
    gcp_canaries.NAMES,
    gcp_canaries.ORIGINS,
    gcp_canaries.BLIND,
    gcp_rules.RULES,
)
AZURE = Cloud(
    "azure",
    azure_types.table(),
    _template,
    arm.address,
    azure_canaries.CANARIES,
    {},
    {},
    azure_canaries.BLIND,
    azure_rules.RULES,
)
CLOUDS = (AWS, GCP, AZURE)
