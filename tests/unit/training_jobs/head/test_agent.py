"""The head of a Slurm cluster: it submits each job once, whatever dies, and reports what Slurm and the nodes say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import ConflictError, LostSightError
from gpuyard.training_jobs.head.agent import Head
from gpuyard.training_jobs.head.slurm import JobRow, Partition, RefusedError
from gpuyard.training_jobs.mailbox import Mailbox, Report, Ticket
from gpuyard.training_jobs.run_layout import attempt_path, output_path
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.store import LocalStore
from tests.helpers.crash_at_line import crash_at

RUN = "night-0123456789ab"
NAME = f"{RUN}.0-abcd"
FILES = ("training_jobs/head/agent.py", "training_jobs/mailbox.py")


@dataclass
class FakeSlurm:
    """Slurm's list of jobs in memory. `jobs` lists them as squeue would; tests change the rows."""

    rows: list[JobRow] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    refusal: Exception | None = None
    code: int | None = None

    def jobs(self) -> dict[str, list[JobRow]]:
        found: dict[str, list[JobRow]] = {}
        for row in self.rows:
            found.setdefault(row.name, []).append(row)
        return found

    def exit_code(self, job: str) -> int | None:
        return self.code

    def submit(self, name: str, ticket: Ticket, secret: str) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(name)
        self.rows.append(JobRow(str(len(self.submitted)), name, "PENDING", "None", None, None))
        return str(len(self.submitted))

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)

    def partition(self) -> Partition:
        return Partition(4, 3, len(self.rows))

    def become(self, state: str, *, at: float = 1000.0, reason: str = "None") -> None:
        """Set the state of the newest job."""
        ended = None if state in {"PENDING", "RUNNING"} else at
        self.rows[-1] = replace(self.rows[-1], state=state, reason=reason, started_at=at, ended_at=ended)


class World:
    """A queue with one ticket, its head, and a clock that tests set."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder.as_uri())
        self.mailbox, self.slurm, self.now = Mailbox(self.store, "dgx"), FakeSlurm(), 1000.0
        environment = {
            "GPUYARD_RUN_URL": f"{folder.as_uri()}/gpuyard/runs/{RUN}",
            "GPUYARD_SUBMISSION": "0",
            "GPUYARD_FIRST_ATTEMPT": "1",
        }
        self.ticket = Ticket(run_id=RUN, nodes=2, gpus_per_node=0, limit_s=3600, limit_reason=Reason.TIMEOUT, environment=environment)
        self.mailbox.put(NAME, self.ticket)
        self.head = self.new_head()

    def new_head(self) -> Head:
        """Return a head that has taken over, as a new process would."""
        head = Head(self.mailbox, self.slurm, clock=lambda: self.now, say=lambda _: None)
        head.take_over()
        return head

    def report(self) -> Report:
        """Return the report after one more turn."""
        self.head.turn()
        found = self.mailbox.report(NAME)
        assert found is not None
        return found[0]

    def claim(self, codes: Sequence[int | None] = ()) -> None:
        """Write what the nodes write: the claim of attempt 1, and exit codes."""
        self.store.create(attempt_path(RUN, 1), json.dumps({"attempt": 1, "submission": 0}).encode())
        for node, code in enumerate(codes):
            self.store.create(f"{output_path(RUN, 1)}/node-{node}.json", json.dumps({"exit_code": code}).encode())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_ticket_becomes_a_job_and_its_states_are_reported(world: World) -> None:
    assert (world.report().state, world.slurm.submitted) == (State.PENDING, [NAME])
    world.slurm.become("PENDING", reason="Resources")
    assert world.report().detail == "waits for free nodes (0 waiting)"
    world.slurm.become("RUNNING")
    found = world.report()
    assert (found.state, found.started_at, found.slurm_job) == (State.RUNNING, 1000.0, "1")
    world.slurm.become("COMPLETED", at=1200.0)
    found = world.report()
    assert (found.state, found.exit_code, found.ended_at) == (State.SUCCEEDED, 0, 1200.0)
    assert world.mailbox.open_jobs() == ([], set())
    assert world.mailbox.ticket(NAME) == world.ticket


@pytest.mark.parametrize(
    ("state", "codes", "outcome"),
    [
        ("FAILED", (1, 75), (State.FAILED, Reason.USER_ERROR, 1)),
        ("FAILED", (75, 75), (State.STOPPED, Reason.PREEMPTED, 75)),
        ("FAILED", (), (State.FAILED, Reason.USER_ERROR, 7)),
        ("OUT_OF_MEMORY", (), (State.FAILED, Reason.USER_ERROR, 7)),
        ("NODE_FAIL", (None, None), (State.FAILED, Reason.INFRA, None)),
        ("NODE_FAIL", None, (State.FAILED, Reason.CAPACITY, None)),
        ("PREEMPTED", (), (State.STOPPED, Reason.PREEMPTED, None)),
        ("TIMEOUT", (), (State.FAILED, Reason.TIMEOUT, None)),
        ("CANCELLED", (), (State.CANCELLED, None, None)),
        ("REVOKED", (), (State.UNKNOWN, None, None)),
    ],
)
def test_an_end_is_classified_by_slurms_state_and_the_nodes_codes(
    world: World, state: str, codes: Sequence[int | None] | None, outcome: tuple[State, Reason | None, int | None]
) -> None:
    """`codes`: None = the nodes never started."""
    world.report()
    if codes is not None:
        world.claim(codes)
    world.slurm.code = 7
    world.slurm.become(state)
    found = world.report()
    assert (found.state, found.reason, found.exit_code) == outcome


def test_a_job_is_cancelled_before_and_after_it_reached_slurm(world: World) -> None:
    world.mailbox.put_cancel(NAME)
    found = world.report()
    assert (found.state, found.detail, world.slurm.submitted) == (State.CANCELLED, "cancelled before it started", [])
    other = f"{RUN}.1-abcd"
    world.mailbox.put(other, world.ticket)
    world.head.turn()
    world.slurm.become("RUNNING")
    world.mailbox.put_cancel(other)
    world.head.turn()
    assert world.slurm.cancelled == ["1"]
    world.slurm.become("CANCELLED")
    world.head.turn()
    assert world.mailbox.open_jobs() == ([], set())


def test_the_time_limit_is_enforced_to_the_second(world: World) -> None:
    world.report()
    world.slurm.become("RUNNING")
    world.now += 3599
    assert (world.report().cut, world.slurm.cancelled) == (None, [])
    world.now += 2
    assert (world.report().cut, world.slurm.cancelled) == (Reason.TIMEOUT, ["1"])
    world.slurm.become("CANCELLED")
    found = world.report()
    assert (found.state, found.reason, found.detail) == (State.FAILED, Reason.TIMEOUT, "timeout after 3600 s")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Requested node configuration is not available", Reason.CAPACITY),
        ("Job violates accounting/QOS policy (job submit limit)", Reason.QUOTA),
        ("Invalid account or account/partition combination specified", Reason.USER_ERROR),
        ("something else", Reason.UNKNOWN),
    ],
)
def test_a_refusal_of_sbatch_ends_the_job_with_its_text(world: World, text: str, reason: Reason) -> None:
    world.slurm.refusal = RefusedError(text)
    found = world.report()
    assert (found.state, found.reason, found.detail) == (State.FAILED, reason, f"Slurm refused the job: {text}")


def test_an_outage_of_slurm_changes_no_report(world: World) -> None:
    world.slurm.refusal = LostSightError("Unable to contact slurm controller")
    with pytest.raises(LostSightError):
        world.head.turn()
    world.slurm.refusal = None
    assert (world.report().slurm_job, world.slurm.submitted) == ("1", [NAME])


def test_a_job_that_slurm_forgot_ends_by_its_nodes_results_after_a_minute(world: World) -> None:
    world.report()
    world.slurm.rows.clear()
    assert world.report().detail == "Slurm does not list the job"
    world.claim((0, 0))
    world.now += 61
    assert (world.report().state, world.slurm.submitted) == (State.SUCCEEDED, [NAME])


def test_a_job_that_ran_for_a_dead_head_is_not_submitted_again(world: World) -> None:
    """The head died between sbatch and the report, and came back after Slurm had forgotten the job."""
    assert crash_before_the_id_is_reported(world)
    world.slurm.rows.clear()
    world.claim((1, 1))
    world.head = world.new_head()
    world.report()
    world.now += 61
    found = world.report()
    assert (found.state, found.exit_code, len(world.slurm.submitted)) == (State.FAILED, 1, 1)


def crash_before_the_id_is_reported(world: World) -> bool:
    """Crash the head at the line after sbatch. Return whether the job was submitted."""
    for line in range(1, 200):
        crash_at(line, world.head.turn, FILES)
        if world.slurm.submitted:
            return True
        world.head = world.new_head()
    return False


def test_a_head_that_dies_at_any_line_submits_each_job_once(tmp_path: Path) -> None:
    line = 0
    while True:
        line += 1
        world = World(tmp_path / str(line))
        crash = crash_at(line, world.head.turn, FILES)
        world.head = world.new_head()
        world.report()
        world.slurm.become("RUNNING")
        assert (world.report().state, world.slurm.submitted) == (State.RUNNING, [NAME]), crash.died_at
        world.slurm.become("COMPLETED")
        assert world.report().state is State.SUCCEEDED, crash.died_at
        if crash.died_at is None:
            break
    assert line > 40


def test_of_two_heads_the_newer_one_goes_on(world: World) -> None:
    newer = world.new_head()
    with pytest.raises(ConflictError, match="another `gpuyard head` has taken over this queue"):
        world.head.turn()
    newer.turn()
    assert world.slurm.submitted == [NAME]


def test_a_twin_that_a_second_head_submitted_is_cancelled(world: World) -> None:
    world.report()
    world.slurm.become("RUNNING")
    world.slurm.rows.append(JobRow("2", NAME, "PENDING", "Dependency", None, None))
    assert (world.report().slurm_job, world.slurm.cancelled) == ("1", ["2"])


def test_a_damaged_ticket_is_named_and_the_others_go_on(world: World) -> None:
    said: list[str] = []
    world.head.say = said.append
    world.store.create("gpuyard/queues/dgx/in/other-0123456789ab.0.json", b"{")
    assert world.report().slurm_job == "1"
    assert "in/other-0123456789ab.0.json is not a valid ticket" in said[-1]
