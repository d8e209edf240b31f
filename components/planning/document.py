"""The plan as frozen models of plain values. Nothing here loads Pulumi, so that `gpuyard schema plan` is quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = [
    "Amount",
    "Branch",
    "Changed",
    "ChangedResource",
    "Changes",
    "Fabric",
    "Line",
    "Money",
    "Need",
    "Plan",
    "Planned",
    "RuleVerdict",
    "Unknowns",
    "Waived",
]


class Document(BaseModel):
    """Base class of the plan's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Amount(Document):
    """A number between two bounds. Equal bounds: the number is known. No upper bound (None): a part of the number has no upper bound."""

    low: float
    high: float | None

    def __add__(self, other: Amount) -> Amount:
        high = None if self.high is None or other.high is None else self.high + other.high
        return Amount(low=self.low + other.low, high=high)

    def times(self, factor: float) -> Amount:
        """Return the amount times a factor; zero times an unknown amount is zero."""
        if factor == 0:
            return Amount(low=0, high=0)
        return Amount(low=self.low * factor, high=None if self.high is None else self.high * factor)


class Line(Document):
    """One row of the money table."""

    name: str
    region: str | None = Field(description="region whose list prices apply; null: not known before `pulumi up`")
    what: str = Field(description="number of nodes, price of a node, and source of the price")
    idle: Amount = Field(description="USD per hour while no job runs")
    full: Amount = Field(description="USD per hour with every node on")
    month: Amount = Field(description="USD for the next month with every node on: 730 h, or less if the pool ends earlier")
    idle_month: Amount = Field(description="USD for the next month if no job runs")
    note: str | None = Field(description="omissions and assumptions of the figures; null: none")


class Money(Document):
    """The cost of the yard."""

    lines: list[Line]
    idle: Amount = Field(description="USD per hour while no job runs")
    full: Amount = Field(description="USD per hour with every node on")
    month: Amount = Field(description="USD for the next month (730 h) with every node on until its pool ends")
    idle_month: Amount = Field(description="USD for the next month if no job runs")
    budget: float | None = Field(description="USD per month; null: no budget, or its amount is unknown")
    hours: Amount | None = Field(
        description="hours per month for which the budget, after the idle cost, pays all nodes; null: no budget, or no machines"
    )
    prices_of: str | None = Field(description="date of the oldest list price in the figures; null: no list price")
    not_priced: list[str] = Field(description="resources that cost money and have no price in the catalogue")


class Need(Document):
    """A quota that the account needs."""

    code: str | None = Field(description="the cloud's code of the quota; null: not known")
    name: str
    region: str | None = Field(description="region of the quota; null: one quota for all regions, or a region that is not known")
    all_regions: bool = Field(description="true: one quota for all regions together")
    unit: str
    amount: int = Field(description="amount that all pools together need with every node on")
    pools: list[str]
    granted: str | None = Field(description="reason why you need not request the quota; null: request it")


class Fabric(Document):
    """The network between the nodes of a pool."""

    pool: str
    nics: int = Field(description="number of fast network cards per node; 0: none")
    card: str = Field(description="the cloud's name for a fast network card, such as EFA")
    gbps: float | None = Field(description="line rate of a node, in Gb/s")
    transport: str | None = Field(description="transport that NCCL must report; null: any")
    floor: float | None = Field(
        description="the preflight refuses a job below this fraction of the line rate; null: unknown, so a slow network is only a warning"
    )


class Waived(Document):
    """A finding that a waiver of the stack accepts."""

    finding: str
    reason: str = Field(description="reason in the waiver")
    until: str = Field(description="last day of the waiver")


class RuleVerdict(Document):
    """The verdict of one policy rule."""

    rule: str
    what: str = Field(description="the requirement of the rule")
    outcome: Literal["passed", "warning", "violated", "waived"] = Field(description="waived: waivers accept all findings")
    findings: list[str] = Field(description="findings that no waiver accepts")
    waived: list[Waived] = Field([], description="findings that waivers accept")


class Branch(Document):
    """One line of the resource tree: a component, or the other resources of one type."""

    kind: str
    name: str
    what: str = Field(description="main settings of the component")
    resources: int = Field(description="number of resources, descendants included")


class Planned(Document):
    """One resource that `pulumi up` would create."""

    urn: str
    type: str = Field(description="type token, such as aws:ec2/vpc:Vpc")
    name: str
    inputs: dict[str, JsonValue] = Field(
        description='{"$unknown": true} stands for a value that is not known before `pulumi up`, {"$secret": true} for a secret'
    )


class Unknowns(Document):
    """Values that need an account, another stack's state or a decryption key."""

    lookups: list[str] = Field(description="provider functions that the program calls")
    references: list[str] = Field(description="other stacks whose outputs the program reads")
    reads: list[str] = Field(description="existing resources that the program reads")
    encrypted: list[str] = Field(description="encrypted configuration keys")
    environments: list[str] = Field(description="Pulumi ESC environments of the stack, which can set further keys")


class Changed(Document):
    """One value in two plans."""

    name: str
    before: str | None = Field(description="null: not in the first plan")
    after: str | None = Field(description="null: not in the second plan")


class ChangedResource(Document):
    """A resource of both plans whose inputs differ. Whether the cloud replaces it is decided by its provider, which a plan does not run."""

    urn: str
    type: str
    name: str
    inputs: list[str] = Field(description="names of the inputs that differ")


class Changes(Document):
    """The changes from an earlier plan of the stack to this one."""

    against: str = Field(description="git revision or file of the earlier plan")
    created: list[str] = Field(description="URNs of new resources")
    deleted: list[str] = Field(description="URNs of resources that are gone")
    changed: list[ChangedResource]
    pools: list[Changed] = Field(description="rows of the money table that differ between the two plans")
    idle: Changed
    full: Changed
    quota: list[Changed]
    access: list[str] = Field(description="resources that give access: + new, - gone, ~ changed. A policy with unknown parts is unknown")
    policy: list[Changed] = Field(description="policy rules whose outcome differs")


class Plan(Document):
    """The document of `plan --json`: resources, cost, quotas and policy verdicts of a first `pulumi up` in an empty account."""

    schema_: Literal["gpuyard.plan/1"] = Field("gpuyard.plan/1", alias="schema")
    nonce: str | None = Field(None, description="text of --nonce; it shows that the plan ran to its end")
    project: str
    stack: str
    clouds: list[str]
    region: str | None = Field(description='regions of all resources, joined with "and"; null: none is known before `pulumi up`')
    owner: str | None
    expires: str | None
    tree: list[Branch]
    money: Money
    quota: list[Need]
    fabric: list[Fabric]
    policy: list[RuleVerdict]
    unknown: Unknowns
    problems: list[str] = Field(description="errors that the engine or a provider would report")
    warnings: list[str] = Field(description="warnings that the program logged")
    resources: list[Planned]
    changes: Changes | None = Field(None, description="changes from the plan of --against; null: no --against")

    @property
    def refused(self) -> bool:
        """Whether a pipeline must stop: the plan has a violated rule or a problem."""
        return bool(self.problems) or any(verdict.outcome == "violated" for verdict in self.policy)
