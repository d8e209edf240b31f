"""Changes of a pool: its expiry, and which resources a change of the spec changes."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tests.helpers.gcp_sample_pools import END, RESERVED, TAGS, VERTEX, VMS, changed, kinds, of_type, pool
from tests.helpers.gcp_sample_yard import FLEX, GROUP, SCHEDULE, TEMPLATE

LATER = (END + datetime.timedelta(days=30)).isoformat()


def test_a_new_expiry_changes_no_template(record: Any) -> None:
    """A new template would replace machines."""
    dates = [pool({**VMS, "min_nodes": 1}, {**TAGS, "expires": date}) for date in (END.isoformat(), LATER)]
    assert set(changed(record, *dates)) == {"pool-end", "pool-replacements"}  # the label `expires`
    held = [pool({**VERTEX, "min_nodes": 1}, {**TAGS, "expires": date}) for date in (END.isoformat(), LATER)]
    assert changed(record, *held) == ["pool-end", "pool-held"]  # the label `expires`


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"max_nodes": 8}, []),  # launchers resize the group
        ({"min_nodes": 4}, ["pool-machines"]),
        ({"disk_gib": 400}, ["pool-template"]),
        ({"image": "projects/acme-ml/global/images/i"}, ["pool-template"]),
        ({"fabric_floor": 0.5}, []),
        ({"price_usd_per_hour": 62.5}, []),
        ({"capacity": "spot"}, ["pool-template"]),
    ],
)
def test_each_change_changes_only_its_resources(record: Any, change: dict[str, Any], what: list[str]) -> None:
    assert changed(record, pool(VMS), pool({**VMS, **change})) == what


def test_another_pool_does_not_change_the_first(record: Any) -> None:
    one, two = record(pool(VMS, name="a")), record(lambda: [pool(VMS, name=name)() for name in ("b", "a")])
    for urn, request in one.resources.items():
        assert request.object == two.resources[urn].object
    assert all(request.name == "b" or request.name.startswith("b-") for urn, request in two.resources.items() if urn not in one.resources)


@pytest.mark.parametrize("preview", [False, True])
def test_a_second_run_registers_the_same_inputs(record: Any, preview: bool) -> None:
    once, again = record(pool(VMS), preview=preview), record(pool(VMS), preview=preview)
    assert {urn: request.object for urn, request in once.resources.items()} == {
        urn: request.object for urn, request in again.resources.items()
    }


@pytest.mark.parametrize("tags", [{}, {"expires": "never"}])
def test_a_pool_without_expiry(record: Any, tags: dict[str, str]) -> None:
    for spec in (VMS, {**VERTEX, "min_nodes": 1}):
        assert "pool-end" not in of_type(record(pool(spec, tags)), SCHEDULE)


def test_an_expiry_in_more_than_a_year_warns_and_is_scheduled_later(record: Any) -> None:
    """Schedules of Cloud Scheduler have no year, so this one would run on that day of this year."""
    recorded = record(pool(VMS, {"expires": (END + datetime.timedelta(days=366)).isoformat()}))
    assert "pool-end" not in of_type(recorded, SCHEDULE)
    assert any("expires in more than a year" in line for line in recorded.warnings)


def test_an_expired_pool_has_zero_nodes(record: Any) -> None:
    past = {**TAGS, "expires": "2026-01-01"}
    recorded = record(pool({**VMS, "min_nodes": 4}, past))
    assert recorded.inputs(GROUP, "pool-machines")["targetSize"] == 0
    assert list(recorded.one(GROUP, "pool-machines").ignoreChanges) == []
    assert of_type(recorded, SCHEDULE) == {}
    flex = record(pool({**VMS, "min_nodes": 2, "capacity": FLEX}, past))
    assert "ResizeRequest pool-request" not in kinds(flex)


def test_a_near_expiry_warns(record: Any) -> None:
    tomorrow = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)).date().isoformat()
    assert any("goes to zero nodes at" in line for line in record(pool(VMS, {"expires": tomorrow})).warnings)


def test_tags_reach_the_machines_and_their_disks(record: Any) -> None:
    template = record(pool({**VMS, "capacity": RESERVED})).inputs(TEMPLATE, "pool-template")
    assert template["labels"] == template["disks"][0]["labels"]
    assert template["labels"]["owner"] == "me-acme-io"
    assert "expires" not in template["labels"]
