"""The submitter of CI pipelines: accepted token subjects, the service account that they become, and its roles."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.gcp.roles import PROJECT_ROLES
from gpuyard.components.gcp.submitter import members, pool_id, submitter_problems, token_condition
from tests.helpers.gcp_sample_pools import of_type
from tests.helpers.gcp_sample_yard import SUBJECT, declare

ON_ACCOUNT = "gcp:serviceaccount/iAMMember:IAMMember"
POOL, PROVIDER = "gcp:iam/workloadIdentityPool:WorkloadIdentityPool", "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider"
TAGGED = "repo:acme/llm:ref:refs/tags/*"
words = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


def accepts(text: str, subject: str) -> bool:
    """Evaluate a token condition in CEL for a subject, for the two forms that a condition has."""
    for part in text.split(" || "):
        if exact := re.fullmatch(r"assertion\.sub in \[(.*)\]", part):
            if f'"{subject}"' in exact[1].split(", "):
                return True
        else:
            start = re.fullmatch(r'assertion\.sub\.startsWith\("(.*)"\)', part)
            assert start, part
            if subject.startswith(start[1]):
                return True
    return False


@given(words, words, words, st.booleans())
def test_a_token_condition_accepts_only_the_subjects(org: str, repository: str, branch: str, open_ended: bool) -> None:
    exact = f"repo:{org}/{repository}:ref:refs/heads/{branch}"
    found = token_condition([exact, TAGGED] if open_ended else [exact])
    assert accepts(found, exact)
    assert accepts(found, "repo:acme/llm:ref:refs/tags/v1") == open_ended
    for stranger in (f"{exact}x", f"repo:{org}x/{repository}:ref:refs/heads/{branch}", f"repo:{org}/{repository}:pull_request", "repo:"):
        assert not accepts(found, stranger)


def test_people_impersonate_the_submitter_and_need_no_identity_provider(record: Any) -> None:
    people = ("group:researchers@acme.io", "user:alice@acme.io")
    recorded = record(lambda: declare(submitters=people))
    assert of_type(recorded, PROVIDER) == of_type(recorded, POOL) == {}
    grants = of_type(recorded, ON_ACCOUNT)
    del grants["train-submitter-acts-as-job"]
    assert sorted(grant["member"] for grant in grants.values()) == sorted(people)
    assert {grant["role"] for grant in grants.values()} == {"roles/iam.serviceAccountTokenCreator"}
    assert all("/train-submitter-" in grant["serviceAccountId"] for grant in grants.values())
    assert not recorded.exports["submitter_provider"]
    assert recorded.exports["submitter_role"].startswith("train-submitter-")


@pytest.mark.parametrize("member", ["allUsers", "allAuthenticatedUsers", "domain:acme.io", "alice@acme.io", "user:*@acme.io", "user:a@b@c"])
def test_a_member_without_a_name_of_its_own_is_no_submitter(member: str) -> None:
    [problem] = submitter_problems([member])
    text = f"submitters.0: not a person, group or pipeline, got {member!r}, allowed: user:NAME@DOMAIN, group:NAME@DOMAIN or serviceAccount:"
    assert str(problem).startswith(text)


@pytest.mark.parametrize("subjects", [(SUBJECT,), (TAGGED,), (SUBJECT, TAGGED)])
def test_only_the_subjects_become_the_submitter(record: Any, subjects: tuple[str, ...]) -> None:
    given = tuple({"subject": each, "reason": "tags are made by a release"} if each.endswith("*") else each for each in subjects)
    recorded = record(lambda: declare(submitters=given))
    provider = recorded.inputs(PROVIDER, "train-pipelines-github")
    assert provider["attributeCondition"] == token_condition(subjects)
    assert provider["oidc"] == {"issuerUri": "https://token.actions.githubusercontent.com"}
    assert provider["attributeMapping"] == {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"}
    grants = of_type(recorded, ON_ACCOUNT)
    acting = grants.pop("train-submitter-acts-as-job")
    assert acting["role"] == "roles/iam.serviceAccountUser"
    assert "/train-job-" in acting["serviceAccountId"]
    assert {grant["role"] for grant in grants.values()} == {"roles/iam.workloadIdentityUser"}
    assert all("/train-submitter-" in grant["serviceAccountId"] for grant in grants.values())
    pool = recorded.exports["submitter_provider"].partition("/providers/")[0]
    wanted = [f"{kind}://iam.googleapis.com/{pool}/{what}" for kind, what in members(subjects)]
    assert sorted(grant["member"] for grant in grants.values()) == sorted(wanted)  # registered at once, in any order
    assert not [member for member in wanted if member.endswith("*")]


def test_a_repository_that_was_created_again_with_the_same_name_is_refused(record: Any) -> None:
    open_ended = {"subject": TAGGED, "reason": "tags are made by a release", "repository_id": 7}
    submitters: Any = ({"subject": SUBJECT, "repository_id": 42}, open_ended, "repo:acme/old:environment:prod")
    recorded = record(lambda: declare(submitters=submitters))
    assert recorded.inputs(PROVIDER, "train-pipelines-github")["attributeCondition"] == (
        'assertion.sub in ["repo:acme/old:environment:prod"]'
        ' || (assertion.sub.startsWith("repo:acme/llm:ref:refs/tags/") && assertion.repository_id == "7")'
        f' || (assertion.sub == "{SUBJECT}" && assertion.repository_id == "42")'
    )


def test_too_many_subjects_are_refused() -> None:
    many = [f"repo:acme/nlp-{number:03}:ref:refs/heads/main" for number in range(200)]
    assert submitter_problems(many[:50]) == []
    text = str(*submitter_problems(many))
    assert text.startswith("submitters: together they make a token condition of")


def test_a_subject_that_google_cannot_map_is_refused() -> None:
    """google.subject has at most 127 bytes, so Google would refuse every submission with a longer one."""
    long = "repo:acme/nlp-train:ref:refs/heads/" + "x" * (127 - 35)
    assert submitter_problems([SUBJECT, long]) == []
    [problem] = submitter_problems([SUBJECT, long + "x"])
    assert str(problem).startswith("submitters.1: Google refuses tokens with this subject, got 128 bytes, allowed: at most 127")


def test_the_member_of_an_open_ended_subject_is_its_repository() -> None:
    assert members([TAGGED, SUBJECT, TAGGED]) == [
        ("principal", f"subject/{SUBJECT}"),
        ("principalSet", "attribute.repository/acme/llm"),
    ]


@given(st.text(alphabet="0123456789", min_size=21, max_size=21))
def test_pool_ids_are_legal_and_differ_between_accounts(account: str) -> None:
    """Ids have 4 to 32 of a-z, 0-9 and - and do not begin with gcp-. A recreated account has a new unique id, so its pool has a new id."""
    assert re.fullmatch(r"[a-z0-9-]{4,32}", pool_id(account))
    assert not pool_id(account).startswith("gcp-")
    assert pool_id(account) != pool_id(account[::-1] + "1")


def test_a_submitter_may_only_create_watch_and_cancel_jobs(record: Any) -> None:
    recorded = record(declare)
    role = recorded.inputs("gcp:projects/iAMCustomRole:IAMCustomRole", "train-submitter-submit-jobs-role")
    assert tuple(role["permissions"]) == PROJECT_ROLES["submit-jobs"].permissions
    allowed = {word.rpartition(".")[0] for word in role["permissions"]}
    assert allowed == {"aiplatform.customJobs", "aiplatform.persistentResources"}
    assert "aiplatform.customJobs.delete" not in role["permissions"]


@pytest.mark.parametrize("preview", [False, True])
def test_without_submitters_no_identity_and_no_pool_is_made(record: Any, preview: bool) -> None:
    recorded = record(lambda: declare(submitters=()), preview=preview)
    assert not [request.name for request in recorded.resources.values() if "submitter" in request.name or "pipelines" in request.name]


def test_a_submitter_reads_the_logs_of_jobs_and_no_other_log(record: Any) -> None:
    recorded = record(declare)
    view = recorded.inputs("gcp:logging/logView:LogView", "train-logs")
    assert view["filter"] == 'resource.type = "ml_job"'
    grant = recorded.inputs("gcp:logging/logViewIamMember:LogViewIamMember", "train-submitter-reads-logs")
    assert grant["role"] == "roles/logging.viewAccessor"
    place = "{parent}/locations/{location}/buckets/{bucket}/views/{name}"
    assert place.format(**grant) == place.format(**view) == recorded.exports["job_targets"]["l4"]["log_view"]
    assert record(lambda: declare(submitters=())).exports["job_targets"]["l4"]["log_view"] is None
