"""What a plan says, as frozen models: plain values alone. Nothing here loads Pulumi, so that a schema of it is quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Document(BaseModel):
    """Base of what a plan holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Amount(Document):
    """A number between two bounds. Equal bounds: it is known. No upper bound: part of it is not known."""

    low: float
    high: float | None

    def __add__(self, other: Amount) -> Amount:
        high = None if self.high is None or other.high is None else self.high + other.high
        return Amount(low=self.low + other.low, high=high)

    def times(self, factor: float) -> Amount:
        """So many times as much; nothing of an unknown amount is nothing."""
        if factor == 0:
            return Amount(low=0, high=0)
        return Amount(low=self.low * factor, high=None if self.high is None else self.high * factor)


class Line(Document):
    """One thing that costs, in USD per hour."""

    name: str
    what: str = Field(description="how many, of what, at which price")
    idle: Amount = Field(description="USD per hour while no job runs")
    full: Amount = Field(description="USD per hour with every node on")
    month: Amount = Field(description="USD of a month (730 h) with every node on")
    note: str | None


class Money(Document):
    """All of it."""

    lines: list[Line]
    idle: Amount = Field(description="USD per hour while no job runs")
    full: Amount = Field(description="USD per hour with every node on")
    month: Amount = Field(description="USD of a month (730 h) with every node on")
    idle_month: Amount = Field(description="USD of a month in which no job runs")
    budget: float | None = Field(description="USD per month; null: none, or not known")
    hours: Amount | None = Field(
        description="hours with every node on that the budget pays beside the idle cost; null: no budget, no machines"
    )
    prices_of: str | None = Field(description="date of the oldest list price used; null: no list price is used")
    not_priced: list[str] = Field(description="what costs too, and is in no catalogue")


class Need(Document):
    """One quota of the region."""

    code: str | None = Field(description="the cloud's code; null: not known, ask the cloud")
    name: str
    unit: str
    amount: int = Field(description="for all pools together, every node on")
    pools: list[str]
    granted: str | None = Field(description="why nothing has to be asked for; null: it has to be")


class Fabric(Document):
    """The network between the nodes of a pool."""

    pool: str
    nics: int = Field(description="cards of a node that carry the fast fabric; 0: none")
    card: str = Field(description="what the cloud calls such a card: EFA")
    gbps: float | None = Field(description="line rate of a node, in Gb/s")
    transport: str | None = Field(description="what NCCL must report; null: nothing particular")
    floor: float = Field(description="fraction of the line rate below which a job is refused")


class Verdict(Document):
    """What one rule found."""

    rule: str
    what: str = Field(description="what the rule asks for")
    outcome: Literal["passed", "warning", "violated"]
    findings: list[str]


class Branch(Document):
    """One thing at the top of the tree, with all that is below it."""

    kind: str
    name: str
    what: str
    resources: int = Field(description="it and everything below it")


class Planned(Document):
    """One resource."""

    urn: str
    type: str = Field(description="type token, such as aws:ec2/vpc:Vpc")
    name: str
    inputs: dict[str, JsonValue] = Field(
        description='{"$unknown": true} stands for a value that is not known before `pulumi up`, {"$secret": true} for a secret'
    )


class Unknowns(Document):
    """What the program asks and nobody can answer without an account, another stack's state or a key."""

    lookups: list[str] = Field(description="functions of providers")
    references: list[str] = Field(description="other stacks whose outputs are read")
    reads: list[str] = Field(description="existing resources that are read")
    encrypted: list[str] = Field(description="encrypted configuration keys")


class Plan(Document):
    """What `pulumi up` would make of a program in an empty account, and what that means."""

    schema_: Literal["gpuyard.plan/1"] = Field("gpuyard.plan/1", alias="schema")
    project: str
    stack: str
    clouds: list[str]
    region: str | None
    owner: str | None
    expires: str | None
    tree: list[Branch]
    money: Money
    quota: list[Need]
    fabric: list[Fabric]
    policy: list[Verdict]
    unknown: Unknowns
    problems: list[str] = Field(description="what an engine or a provider would refuse")
    warnings: list[str] = Field(description="what the program itself warned of")
    resources: list[Planned]

    @property
    def refused(self) -> bool:
        """Whether a pipeline has to stop."""
        return bool(self.problems) or any(verdict.outcome == "violated" for verdict in self.policy)
