"""Run ids, digests, checks against a target, and time limits."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.admission import check, check_key
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.run import canonical, difference, digest, paid_starts, resolve_url, resolved_job, run_id, time_limit
from gpuyard.training_jobs.target import JobTarget, parse_target
from tests.helpers.batch_pool import batch_target
from tests.helpers.local_pool import job, make_target, target_document

NOW = 1_795_000_000.0


def target(**changes: Any) -> JobTarget:
    return parse_target(target_document(Path("/yard")) | changes)


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": "1h"},
        {"queue_timeout": "5m"},
        {"max_cost_usd": 3},
        {"retries": {"infra": 2}},
        {"max_restarts": 2},
        {"labels": {"team": "nlp"}},
        {"pool": "local"},
        {"code": "src"},
    ],
)
def test_limits_labels_and_paths_do_not_change_the_run_id(change: dict[str, Any]) -> None:
    assert run_id(job(**change), "c", "p/s", "pool", None) == run_id(job(), "c", "p/s", "pool", None)


@pytest.mark.parametrize(
    "change",
    [{"nodes": 2}, {"command": ["other.py"]}, {"env": {"A": "1"}}, {"data": {"t": "yard://runs/x"}}, {"checkpoint": {"keep": 9}}],
)
def test_the_computation_changes_the_run_id_unless_there_is_a_request_key(change: dict[str, Any]) -> None:
    assert run_id(job(**change), "c", "p/s", "pool", None) != run_id(job(), "c", "p/s", "pool", None)
    assert run_id(job(**change), "other", "p/s", "pool", "k") == run_id(job(), "c", "p/s", "pool", "k")


def test_stack_pool_code_and_key_are_part_of_the_run_id() -> None:
    ids = {
        run_id(job(), code, stack, pool, key)
        for code, stack, pool, key in [
            ("c", "p/s", "a", None),
            ("d", "p/s", "a", None),
            ("c", "p/t", "a", None),
            ("c", "p/s", "b", None),
            ("c", "p/s", "a", "k"),
            ("c", "p/s", "b", "k"),
            ("c", "p/t", "a", "k"),
            ("c", "p/s", "a", "l"),
        ]
    }
    assert len(ids) == 8


def test_run_ids_stay_the_same_in_every_version() -> None:
    # sha256 of ["gpuyard/local","local","nightly","2026-11-22"]: if run ids were computed differently, existing runs would not be found.
    assert run_id(job("nightly"), "c0de", "gpuyard/local", "local", "2026-11-22") == "nightly-d44dd10541ec"


def test_a_difference_is_reported_for_each_key() -> None:
    found = difference(canonical(job(checkpoint={"keep": 2})), canonical(job(checkpoint={"keep": 5}, nodes=2)))
    assert [str(problem) for problem in found] == ["checkpoint.keep: was 2, is 5", "nodes: was 1, is 2"]


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=4))
def test_a_digest_does_not_depend_on_order(data: dict[str, int]) -> None:
    assert digest(data) == digest(dict(reversed(data.items())))


@pytest.mark.parametrize(
    ("teams", "keys", "message"),
    [
        (["nlp", "vision"], {}, "labels.team: not a team that shares this pool, got none, allowed: nlp, vision; add your team"),
        (["nlp", "vision"], {"labels": {"team": "nlq"}}, "did you mean 'nlp'?"),
        (["nlp", "vision"], {"labels": {"team": "nlp"}, "priority": 9999}, ""),
        ([], {"priority": 1}, "priority: the pool starts jobs in the order of submission, got 1, allowed: none; remove priority"),
        ([], {"labels": {"team": "any"}}, ""),
    ],
)
def test_a_team_and_a_priority_are_for_shared_pools(teams: list[str], keys: dict[str, Any], message: str) -> None:
    pool = batch_target(teams=teams)
    with pytest.raises(UsageError, match=re.escape(message)) if message else nullcontext():
        check(job(**keys), pool, NOW)


def test_a_priority_makes_no_other_run() -> None:
    assert canonical(job(priority=5)) == canonical(job())


def test_all_problems_with_a_target_are_reported_at_once() -> None:
    spec = job(nodes=3, nproc_per_node=9, gpus="H100:8", secrets={"W": "wandb"}, data={"a": "yard://rnus/x", "b": "plain"})
    with pytest.raises(UsageError) as caught:
        check(spec, target(), NOW)
    assert [problem.key for problem in caught.value.problems] == ["nodes", "nproc_per_node", "gpus", "secrets.W", "data.a", "data.b"]
    assert "did you mean 'runs'?" in str(caught.value)
    assert "allowed: 1..2" in str(caught.value)


@pytest.mark.parametrize(
    ("gpus", "fits"), [("H100:8", True), ("h100:8", True), ("8", True), ("A100:8", False), ("H100:4", False), ("0", False)]
)
def test_gpus_are_checked_by_model_and_count(gpus: str, fits: bool) -> None:
    pool = target(accelerator="H100", gpus_per_node=8, slots_per_node=8)
    if fits:
        check(job(gpus=gpus), pool, NOW)
    else:
        with pytest.raises(UsageError, match="H100:8"):
            check(job(gpus=gpus), pool, NOW)


def test_a_secret_given_instead_of_its_name_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        check(job(secrets={"OPENAI_API_KEY": "sk-proj-aaaaaaaaaaaaaaaaaaaa"}), target(), NOW)
    assert "secrets.OPENAI_API_KEY" in str(caught.value)
    assert "sk-proj" not in str(caught.value)


def test_limits_of_the_stack_cap_a_job() -> None:
    pool = target(accelerator="H100", gpus_per_node=8, slots_per_node=8, limits={"gpus": 8, "usd_per_job": 100})
    with pytest.raises(UsageError) as caught:
        check(job(nodes=2, max_cost_usd=500), pool, NOW)
    assert [problem.key for problem in caught.value.problems] == ["nodes", "max_cost_usd"]


def test_urls_and_secrets_are_resolved_to_references(tmp_path: Path) -> None:
    pool = make_target(tmp_path, secrets={"wandb": "file:/run/wandb"})
    resolved = resolved_job(job(secrets={"W": "wandb"}, data={"t": "yard://runs/a/b", "u": "s3://x/y"}), pool)
    assert resolved["secrets"] == {"W": "file:/run/wandb"}
    assert resolved["data"] == {"t": f"file://{tmp_path}/bucket/a/b", "u": "s3://x/y"}
    assert resolved["nproc_per_node"] == 2
    assert resolve_url("yard://runs", pool) == f"file://{tmp_path}/bucket"
    assert "copied_data" not in resolved


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"mount": "copy"}, "data.t.url: required key is missing; URL of a folder or an object"),
        ({"url": "s3://b/x"}, "data.t.mount: required key is missing; `copy`: each node copies the data to its disk once"),
        ({"url": "s3://b/x", "mount": "fuse"}, "data.t.mount: wrong value, got 'fuse', allowed: 'copy'"),
        ({"url": "s3://b/x", "mount": "copy", "to": "/d"}, "data.t.to: unknown key, allowed: mount, url; remove it"),
        ({"url": "s3://b/x\0", "mount": "copy"}, "data: contains a NUL character"),
        (
            {"url": "s3://b/ghp_0123456789abcdefghij0123456789abcdef", "mount": "copy"},
            "data: data.t contains a text that looks like a secret",
        ),
        ({"url": "yard://rnus/x", "mount": "copy"}, "data.t: no such bucket in the stack, got rnus, allowed: runs; did you mean 'runs'?"),
        ({"url": "folder/x", "mount": "copy"}, "data.t: not a URL, got folder/x"),
        ({"url": "https://x/y.tar", "mount": "copy"}, "data.t: no node can copy it, got https://x/y.tar, allowed: yard://, s3://"),
        (["s3://b/x"], "data.t: wrong value, got ['s3://b/x'], allowed: a valid string; {name: URL}"),
    ],
)
def test_an_entry_of_data_that_cannot_be_copied_is_refused(entry: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(job(data={"t": entry}), target(), NOW)
    assert message in str(caught.value)


def test_copied_data_is_resolved_like_any_other_and_named_for_the_nodes(tmp_path: Path) -> None:
    entries = {"t": {"url": "yard://runs/a", "mount": "copy"}, "u": "s3://x/y"}
    resolved = resolved_job(job(data=entries), make_target(tmp_path))
    assert (resolved["data"], resolved["copied_data"]) == ({"t": f"file://{tmp_path}/bucket/a", "u": "s3://x/y"}, ["t"])
    assert run_id(job(data=entries), "c", "s", "p", None) != run_id(job(data={"t": "yard://runs/a", "u": "s3://x/y"}), "c", "s", "p", None)


def test_the_time_limit_is_the_smaller_of_timeout_and_cost_limit() -> None:
    paid = target(price={"usd_per_node_hour": 10.0, "source": "test"})
    assert time_limit(job(timeout="2h"), target(), 1800, 0) == (5400, "timeout")
    assert time_limit(job(timeout="2h", nodes=2, max_cost_usd=10), paid, 0, 0) == (1800, "cost")
    assert time_limit(job(timeout="2h", nodes=2, max_cost_usd=10), paid, 900, 5) == (900, "cost")
    assert time_limit(job(timeout="10m", max_cost_usd=10), paid, 0, 0) == (600, "timeout")
    assert time_limit(job(timeout="10m", max_cost_usd=10), target(), 0, 0) == (600, "timeout")  # nothing is billed here
    assert paid_starts(job(timeout="10m", max_cost_usd=10), paid, 600, 0) == 6  # an hour costs 10
    assert paid_starts(job(timeout="10m", max_cost_usd=10), paid, 600, 7) == 1
    assert paid_starts(job(timeout="2h", max_cost_usd=10), paid, 3600, 0) == 1
    assert paid_starts(job(), paid, 600, 0) is paid_starts(job(max_cost_usd=10), target(), 600, 0) is None
    with pytest.raises(UsageError, match="price_usd_per_hour"):
        time_limit(job(max_cost_usd=1), target(price={"usd_per_node_hour": None, "source": "unknown"}), 0, 0)


def test_a_pool_whose_machines_expired_takes_no_job() -> None:
    pool = target(available_until="2026-12-19T10:50:00Z")
    end = 1_797_677_400.0
    check(job(), pool, end - 1)
    with pytest.raises(UsageError, match="pool: its machines have expired, got local, expired 2026-12-19T10:50:00Z"):
        check(job(), pool, end)


@pytest.mark.parametrize("key", ["", "  ", "$VAR", "nightly-${DATE}", "$(date)", "{{ ds }}", "`date`", "%DATE%", "<no value>"])
def test_a_key_that_would_be_the_same_for_ever_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=r"--request-key: (an empty key|an unexpanded variable)"):
        check_key(key)


@pytest.mark.parametrize("key", ["2026-11-22\n", " a", "a\u200b", "\udcff", "\x1b[31mred", "x" * 257])
def test_a_key_that_another_submit_would_not_repeat_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=r"--request-key: (blanks around|a key that is too long)") as caught:
        check_key(key)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["2026-11-22", "a b", "5$", "build/17", "5%", "größe"])
def test_any_other_key_is_accepted(key: str) -> None:
    check_key(key)
