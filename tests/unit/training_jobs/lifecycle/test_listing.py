"""`Runner.runs` with filters, and the reasons that `Runner.logs` reports while a followed run waits for nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.base import LogLine, ServiceStatus
from gpuyard.training_jobs.backends.local import LocalBackend
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.lifecycle.listing import RunFilter
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import State
from tests.helpers.local_pool import job, make_target

RUNNING, PENDING = State.RUNNING, State.PENDING


class Scripted(LocalBackend):
    """A queue that starts nothing. A test sets the answers of `status` for each job, in order; the last answer stays."""

    answers: Mapping[str, list[ServiceStatus]] = {}
    asked: list[str] = []  # noqa: RUF012 shared on purpose, because the runner creates a backend for each run

    def submit(self, run: object) -> str:
        return str(run.name)  # type: ignore[attr-defined]

    def status(self, service_id: str) -> ServiceStatus:
        self.asked.append(service_id)
        answers = self.answers.get(service_id.rsplit("-", 2)[0], [ServiceStatus(RUNNING, started_at=1.0)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        yield from (LogLine(moment, 0, f"at {moment:g}") for moment in (1.0, 2.0, 3.0) if since is None or moment >= since)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return a runner with three runs, submitted at 100, 200 and 300: failed, waiting and running."""
    monkeypatch.setattr(Scripted, "asked", [])
    waits = [ServiceStatus(PENDING, detail=f"waiting behind {jobs} jobs") for jobs in (2, 2, 1)]
    answers = {"old": [ServiceStatus(State.FAILED, exit_code=1)], "queued": [*waits, ServiceStatus(RUNNING, started_at=1.0)]}
    monkeypatch.setattr(Scripted, "answers", answers)
    target = make_target(tmp_path)

    def at(moment: float) -> Runner:
        return Runner({"local": target}, backend_for=Scripted, clock=lambda: moment, sleep=lambda _: None)  # type: ignore[arg-type]

    for moment, name, team in ((100.0, "old", "nlp"), (200.0, "queued", "vision"), (300.0, "new", "nlp")):
        at(moment).submit(job(name, labels={"team": team}), None)
    Scripted.asked.clear()
    return at(400.0)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (RunFilter(), ["new", "queued", "old"]),
        (RunFilter(limit=2), ["new", "queued"]),
        (RunFilter(since=200), ["new", "queued"]),
        (RunFilter(labels={"team": "nlp"}), ["new", "old"]),
        (RunFilter(labels={"team": "nlp", "kind": "nightly"}), []),
        (RunFilter(pool="local"), ["new", "queued", "old"]),
        (RunFilter(pool="other"), []),
        (RunFilter(states=frozenset({State.FAILED})), ["old"]),
        (RunFilter(states=frozenset({State.FAILED, PENDING}), limit=1), ["queued"]),
    ],
)
def test_a_filter_selects_the_newest_runs(runner: Runner, where: RunFilter, names: list[str]) -> None:
    assert [status.name for status in runner.runs(where=where)] == names


def test_a_service_is_not_queried_about_runs_that_are_not_listed(runner: Runner) -> None:
    runner.runs(where=RunFilter(limit=1))
    assert [name.rsplit("-", 2)[0] for name in Scripted.asked] == ["new"]


def test_following_a_queued_run_reports_each_reason_once_and_then_prints(runner: Runner) -> None:
    (queued,) = runner.runs(where=RunFilter(states=frozenset({PENDING})))
    reasons: list[str] = []
    lines = [line.text for line in runner.logs(queued.run_id, follow=True, on_wait=reasons.append)]
    assert reasons == ["waiting behind 2 jobs", "waiting behind 1 jobs"]
    assert lines == ["at 1", "at 2", "at 3"]


def test_an_unknown_attempt_is_refused_with_the_known_ones(runner: Runner) -> None:
    run = runner.runs(where=RunFilter(limit=1))[0].run_id
    with pytest.raises(UsageError, match=r"--attempt: run new-\w+ has no such attempt, got 2, allowed: 1"):
        list(runner.logs(run, attempt=2))
    assert [line.text for line in runner.logs(run, attempt=1, since=2.0)] == ["at 2", "at 3"]
