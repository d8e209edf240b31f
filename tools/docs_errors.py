"""Writes docs/CLOUD-errors.md: what a stack file on a cloud can have wrong, and the message that each mistake gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gpuyard.components import registry
from gpuyard.components.spec import NetworkSpec
from gpuyard.stacks.settings import NAMESPACE, load
from gpuyard.training_jobs.errors import UsageError
from tools.docs_clouds import CLOUDS
from tools.docs_mistakes import MISTAKES

_HEAD = """# A stack file on {title}: each mistake and its message

Written by `make docs` from the checks themselves; a test holds this page to them. Mistakes of one file are told together, by
`pulumi preview`, `pulumi up` and `gpuyard plan` alike, before the first component: nothing is created. Exit 2. Which machine can be
had how, with the message for each that cannot: [{cloud}-machines.md]({cloud}-machines.md).

| given | message |
|---|---|
"""


def text(cloud: str) -> str:
    """The whole page."""
    return _HEAD.format(title=CLOUDS[cloud].title, cloud=cloud) + "".join(_rows(cloud))


def _rows(cloud: str) -> Iterator[str]:
    for mistake in MISTAKES[cloud].mistakes:
        told = messages(mistake, cloud)
        if not told:
            raise AssertionError(f"nothing is told of {mistake}")
        yield f"| `{json.dumps(mistake)}` | {'<br>'.join(line.replace('|', chr(92) + '|') for line in told)} |\n"


def messages(mistake: Mapping[str, Any], cloud: str) -> list[str]:
    """What is told of a good stack file with one mistake in it."""
    good = MISTAKES[cloud]
    pool = {key: value for key, value in {**good.pool, **mistake.get("pool", {})}.items() if value is not None}
    changed = {**good.stack, "pools": {"l4": pool}, **{key: value for key, value in mistake.items() if key != "pool"}}
    config = {
        f"{NAMESPACE}{key}": value if isinstance(value, str) else json.dumps(value) for key, value in changed.items() if value is not None
    }
    try:
        settings = load(config, stack=f"dev-{cloud}")
    except UsageError as error:
        return [str(problem) for problem in error.problems]
    existing = settings.network.existing
    found = registry.cloud(cloud).yard_problems(
        region=good.region,
        network=NetworkSpec(**settings.network.model_dump(exclude={"existing"}, exclude_unset=True)),
        existing_network=(existing.vpc_id, existing.subnet_ids) if existing else None,
        existing_buckets={name: bucket.existing for name, bucket in settings.buckets.items() if bucket.existing is not None},
        pools=settings.pools,
        submitters=settings.submitters,
        budget=settings.budget,
        owner=settings.owner,
        tags=settings.all_tags,
    )
    return [f"{NAMESPACE}{line}" for line in found]
