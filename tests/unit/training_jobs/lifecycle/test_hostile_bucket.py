"""A bucket in which a job wrote anything: every other run is still listed, and every status can be printed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuyard.stacks.cli.tables import table
from gpuyard.stacks.cli.view import line, summary
from gpuyard.training_jobs.backends.base import ServiceStatus
from gpuyard.training_jobs.errors import AuthError
from gpuyard.training_jobs.lifecycle import journal
from gpuyard.training_jobs.lifecycle.handle import make_submission
from gpuyard.training_jobs.lifecycle.journal import Journal, RunRecord, SubmissionEnd
from gpuyard.training_jobs.run import Code
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.store import LocalStore
from tests.helpers.local_pool import job, make_target
from tests.unit.training_jobs.lifecycle.test_polling import Scripted

GOOD, BAD = "good-0123456789ab", "bad-0123456789ab"


class Bucket:
    """A run bucket with two ended runs. `run`: the folder of the one that the tests damage."""

    def __init__(self, folder: Path) -> None:
        self.target = make_target(folder)
        self.journal = Journal(self.target.run_bucket)
        end = SubmissionEnd(state=State.FAILED, reason=Reason.USER_ERROR, exit_code=1, started_at=1.0, ended_at=2.0)
        for run in (GOOD, BAD):
            first = make_submission(job(), self.target, Code("c0de", "file:///c"), (), attempt=1, fresh=True, now=1.0)
            ended = first.model_copy(update={"service_id": f"{run}.0-0a", "ended": end})
            record = RunRecord(run_id=run, name="job", stack="p/s", pool="local", request_key=None, created_at=1.0, submissions=(ended,))
            assert self.journal.create(record)
        self.run, self.records = folder / "bucket/gpuyard/runs" / BAD, folder / "bucket/gpuyard/submissions"
        for part in ("attempts", "output/attempt-1", "checkpoints"):
            (self.run / part).mkdir(parents=True)

    def record(self, run: str = BAD) -> Path:
        """Return the file of a run's record."""
        return self.records / run / "run.json"

    def list_and_print(self) -> dict[str, RunStatus]:
        """List the runs, print each in every form, and return them by id."""
        service = Scripted()
        service.answers.append(ServiceStatus(State.RUNNING, started_at=0.0))
        runner = Runner({"local": self.target}, backend_for=lambda _: service)
        found = {status.run_id: status for status in runner.runs()}
        table(list(found.values()))
        for status in found.values():
            line(status, 1.0), summary(status), status.model_dump_json(by_alias=True)
        return found


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def _fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/passwd")


def _loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def _folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


def _content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


HOSTILE: dict[str, Callable[[Path], None]] = {
    "FIFO": _fifo,
    "link": _link,
    "loop": _loop,
    "folder": _folder,
    "1 GiB": _sparse,
    "deep": _content(b'{"metrics": ' + b"[" * 200_000),
    "nested": _content(b'{"metrics": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}"),
    "surrogate": _content(b'{"metrics": {"loss\\ud800": "\\udfff"}, "phase": "\\ud800", "tail": ["\\ud800"], "exit_code": 1}'),
    "big integer": _content(b'{"step": ' + b"9" * 4000 + b', "exit_code": ' + b"9" * 4000 + b"}"),
    "late": _content(b'{"claimed_at": 1e300, "first_step_at": 1e300, "ended_at": 1e300, "exit_code": 1}'),
    "infinite": _content(b'{"step": Infinity, "steps": NaN, "claimed_at": -Infinity, "metrics": {"goodput": Infinity}}'),
    "long tail": _content(json.dumps({"exit_code": 1, "tail": ["x" * 30_000] * 30}).encode()),
    "not UTF-8": _content(b"\xff\xfe\x00"),
    "empty": _content(b""),
}


@pytest.mark.parametrize("variant", HOSTILE)
@pytest.mark.parametrize(
    "name",
    ["run.json", "attempts/1.json", "output/attempt-1/progress.json", "output/attempt-1/node-0.json", "output/attempt-1/preflight.json"],
)
def test_one_bad_object_hides_no_run(bucket: Bucket, name: str, variant: str) -> None:
    HOSTILE[variant](bucket.record() if name == "run.json" else bucket.run / name)
    found = bucket.list_and_print()
    assert found[GOOD].state is State.FAILED
    assert (BAD in found) == (name != "run.json")
    for status in found.values():
        assert sum(map(len, status.attempts[-1].tail)) <= 100_000


@pytest.mark.parametrize(
    "name",
    [
        "attempts/².json",
        "attempts/999999999999999999999.json",
        "attempts/-1.json",
        "attempts/1_0.json",
        "attempts/7.json\n",
        "attempts/\udcff.json",
    ],
)
def test_a_strange_name_of_an_attempt_is_ignored(bucket: Bucket, name: str) -> None:
    (bucket.run / name).write_bytes(b"{}")
    assert [attempt.attempt for attempt in bucket.list_and_print()[BAD].attempts] == [1]


@pytest.mark.parametrize("planted", ["999999999", "000000003", "5"])
def test_a_planted_number_of_an_attempt_is_not_an_attempt(bucket: Bucket, planted: str) -> None:
    for number in ("1", "2", planted):
        (bucket.run / f"attempts/{number}.json").write_bytes(b"{}")
    attempts = bucket.list_and_print()[BAD].attempts
    assert [attempt.attempt for attempt in attempts] == [1, 2]


def test_a_folder_of_too_many_attempts_is_named_and_hides_no_run(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_CLAIMS", 5)
    for number in range(6):
        (bucket.run / f"attempts/{number}.json").write_bytes(b"{}")
    found = bucket.list_and_print()
    assert found[BAD].detail == f"attempts are not shown: {bucket.run}/attempts/ was not listed: more than 5 objects"
    assert [(attempt.attempt, attempt.detail) for attempt in found[BAD].attempts] == [(1, found[BAD].detail)]  # what `status` prints
    assert found[GOOD].state is State.FAILED


@pytest.mark.parametrize("folder", ["", "attempts", "output", "output/attempt-1"])
def test_a_loop_of_links_in_place_of_a_folder_hides_nothing(bucket: Bucket, folder: str) -> None:
    shutil.rmtree(bucket.run / folder)
    (bucket.run / folder).symlink_to(bucket.run / folder)
    found = bucket.list_and_print()
    assert (found[BAD].state, found[BAD].reason, found[GOOD].state) == (State.FAILED, Reason.USER_ERROR, State.FAILED)


def test_a_folder_without_permission_hides_no_run(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    names = LocalStore.names

    def refuse(store: LocalStore, folder: str, most: int | None = None) -> list[str]:
        if BAD in folder:
            raise AuthError("cannot read: Permission denied")
        return names(store, folder, most)

    monkeypatch.setattr(LocalStore, "names", refuse)
    found = bucket.list_and_print()
    assert (found[BAD].state, found[BAD].detail) == (State.FAILED, "cannot read: Permission denied")
    assert found[GOOD].state is State.FAILED


def test_many_attempts_show_the_newest(bucket: Bucket) -> None:
    for number in range(500):
        (bucket.run / f"attempts/{number}.json").write_bytes(b"{}")
    attempts = bucket.list_and_print()[BAD].attempts
    assert (len(attempts), attempts[-1].attempt) == (200, 499)


@pytest.mark.parametrize("name", ["..", "-", "A", "a/b", "\udcff", "x" * 200, GOOD.upper(), f"{GOOD} ", "\x1b[31m", f"a{GOOD}\n"])
def test_a_strange_name_among_the_runs_is_ignored(bucket: Bucket, name: str) -> None:
    folder = bucket.records / name
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(b"{}")
    assert set(bucket.list_and_print()) == {GOOD, BAD}


def test_a_record_of_another_run_is_damaged(bucket: Bucket) -> None:
    bucket.record().write_bytes(bucket.record(GOOD).read_bytes())
    assert set(bucket.list_and_print()) == {GOOD}


def test_a_record_without_permission_hides_no_run_and_a_bucket_without_is_an_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    read, denied = LocalStore.read, {BAD}

    def refuse(store: LocalStore, path: str, most: int = 2**20) -> tuple[bytes, str] | None:
        if any(f"{run}/run.json" in path for run in denied):
            raise AuthError("cannot read: Permission denied")
        return read(store, path, most)

    monkeypatch.setattr(LocalStore, "read", refuse)
    assert set(bucket.list_and_print()) == {GOOD}
    denied.add(GOOD)
    with pytest.raises(AuthError):
        bucket.list_and_print()


_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({})
    | st.sampled_from([1e300, -1.0, 2**64, "9" * 400, "\ud800", "../../x", "\x1b]0;x\x07", "::error::", [[[]]], {"a": {"b": 1}}])
)  # fmt: skip


def _replaced(value: object, path: list[int], new: object) -> object:
    """Return a JSON value in which the part at a path of indices is replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, rest = keys[path[0] % len(keys)], path[1:]
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = _replaced(value[key], rest, new)
    return copy


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.lists(st.integers(0, 40), min_size=1, max_size=5), new=_VALUES)
def test_no_change_of_a_record_hides_the_other_run(path: list[int], new: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bucket = Bucket(Path(folder))
        record = json.loads(bucket.record().read_bytes())
        bucket.record().write_text(json.dumps(_replaced(record, path, new)))
        assert bucket.list_and_print()[GOOD].state is State.FAILED
