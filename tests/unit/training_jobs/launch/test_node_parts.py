"""The parts of a node's life that need no processes: place, notice, secrets, files, claims, verdict, progress, hook."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuyard.training_jobs import state
from gpuyard.training_jobs.launch import hook, secrets
from gpuyard.training_jobs.launch import objects as files
from gpuyard.training_jobs.launch.__main__ import claim
from gpuyard.training_jobs.launch.agent_state import FINAL, AgentState
from gpuyard.training_jobs.launch.node import verdict
from gpuyard.training_jobs.launch.node_exit import EndedError
from gpuyard.training_jobs.launch.preemption.stop_request import Notice
from gpuyard.training_jobs.launch.progress import Progress
from gpuyard.training_jobs.launch.topology import Place, place

LOCAL = {
    "GPUYARD_SERVICE": "local", "GPUYARD_NODE_RANK": "1", "GPUYARD_NUM_NODES": "2", "GPUYARD_MAIN_ADDRESS": "127.77.0.10",
    "GPUYARD_NODE_ADDRESS": "127.77.0.11", "GPUYARD_PORT": "4000",
}  # fmt: skip


def test_the_copies_of_the_exit_codes_are_the_tables() -> None:
    assert (hook.DONE, hook.BAD_CONFIG, hook.FABRIC, hook.RESUMABLE) == (
        state.JOB_DONE,
        state.JOB_BAD_CONFIG,
        state.JOB_FABRIC,
        state.JOB_RESUMABLE,
    )
    assert FINAL == (64, 69, 75)


def test_launch_imports_nothing_but_the_standard_library() -> None:
    program = "import sys; import gpuyard.training_jobs.launch.__main__, gpuyard.training_jobs.launch.hook; print(*sys.modules)"
    bare = [sys.executable, "-S", "-c", program]  # without what an installation loads at every start, as a namespace's .pth file does
    root = str(Path(__file__).parents[4])
    loaded = subprocess.run(bare, capture_output=True, text=True, check=True, env={"PYTHONPATH": root}).stdout.split()
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"gpuyard", "__main__"}
    assert not {name for name in foreign if not name.startswith("_")}, foreign


def test_a_local_node_finds_its_place() -> None:
    interface = "lo0" if sys.platform == "darwin" else "lo"
    assert place(LOCAL) == Place(1, 2, "127.77.0.10", "127.77.0.11", 4000, interface)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"GPUYARD_SERVICE": "slurm"}, "got 'slurm', allowed: .*batch, local"),
        ({"GPUYARD_PORT": "http"}, "is malformed"),
        ({"GPUYARD_NODE_RANK": "2"}, "rank 2 is not among 2 nodes"),
    ],
)
def test_a_wrong_environment_is_refused(change: dict[str, str], says: str) -> None:
    with pytest.raises(EndedError, match=says) as refused:
        place({**LOCAL, **change})
    assert refused.value.code == 64


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(EndedError, match="did not set GPUYARD_PORT"):
        place({name: value for name, value in LOCAL.items() if name != "GPUYARD_PORT"})


def test_secrets_come_from_private_files_only(tmp_path: Path) -> None:
    private, open_to_all = tmp_path / "with space", tmp_path / "open"
    for path, mode in ((private, 0o600), (open_to_all, 0o640)):
        path.write_text("value\n")
        path.chmod(mode)
    assert secrets.resolve({"A": f"file:{private}"}) == {"A": "value"}
    with pytest.raises(EndedError) as refused:
        secrets.resolve({"B": f"file:{open_to_all}", "C": "vault:x", "D": f"file:{tmp_path}/none"})
    text = str(refused.value)
    assert refused.value.code == 64
    assert "secrets.B" in text
    assert "0640" in text
    assert "secrets.C: scheme 'vault' is not supported here; supported: file" in text
    assert "secrets.D" in text
    assert "value" not in text


def test_a_stop_asked_twice_starts_one_clock(tmp_path: Path) -> None:
    notice = Notice(tmp_path / "stop", grace_s=30)
    (tmp_path / "listens").touch()
    assert not notice.asked
    notice.ask()
    left = notice.left_s
    notice.ask()
    assert notice.asked
    assert (tmp_path / "stop").exists()
    assert not notice.overdue
    assert notice.left_s <= left <= 29


def test_a_stop_gives_seconds_within_bounds_that_only_shrink_and_the_hook_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    notice = Notice(tmp_path / "stop", grace_s=30)
    assert hook.seconds_left() is None
    (tmp_path / "stop").touch()  # a full disk holds the file and not the number
    assert hook.seconds_left() == 30
    for given_s, left_s in ((3600, 600), (120, 120), (500, 120), (None, 30), (0, 2)):
        notice.ask(given_s)
        assert notice.given_s == pytest.approx(left_s, abs=1)
        assert hook.seconds_left() == pytest.approx(left_s, abs=1)
    monkeypatch.delenv("GPUYARD_STOP_FILE")
    assert hook.seconds_left() is None


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_is_set_changes_nothing_of_the_seconds_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    notice = Notice(tmp_path / "stop", grace_s=30)
    notice.ask()
    clock = time.time
    monkeypatch.setattr("time.time", lambda: clock() + jump_s)
    assert hook.seconds_left() == pytest.approx(30, abs=2)
    assert notice.given_s == pytest.approx(30, abs=2)


def test_who_never_asks_the_hook_gets_sigterm_at_once_and_the_whole_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notice = Notice(tmp_path / "stop", grace_s=30)
    assert not notice.overdue
    notice.ask()
    assert notice.overdue
    assert notice.left_s > 28
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setattr(hook, "_state", {})
    assert hook.stop_asked()
    assert not notice.overdue  # it listens: it may save and leave by itself


def test_claims_never_share_a_number(tmp_path: Path) -> None:
    submission = {"attempt": 3, "job": {"nodes": 2}}
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda _: claim(tmp_path.as_uri(), 0, "local", submission)["attempt"], range(48)))
    assert sorted(numbers) == list(range(3, 51))
    assert json.loads((tmp_path / "attempts/3.json").read_text())["nodes"] == 2
    assert not list((tmp_path / "attempts").glob(".tmp-*"))


def test_objects_by_url(tmp_path: Path) -> None:
    url = (tmp_path / "a folder/x.json").as_uri()
    assert files.read(url) is None
    assert files.create(url, b"1")
    assert not files.create(url, b"2")
    assert files.read(url) == b"1"
    files.write(url, b"3")
    assert files.read(url) == b"3"
    assert files.names((tmp_path / "a folder").as_uri()) == ["x.json"]
    files.remove(url)
    files.remove(url)
    assert files.names((tmp_path / "a folder").as_uri()) == []


def test_objects_of_another_scheme_go_through_fsspec() -> None:
    url = "memory://launch-test/x.json"
    assert files.read(url) is None
    files.write(url, b"1")
    assert (files.read(url), files.names("memory://launch-test")) == (b"1", ["x.json"])
    assert not files.create(url, b"2")
    files.remove(url)
    assert files.read(url) is None


def test_a_scheme_without_its_package_is_told() -> None:
    with pytest.raises(EndedError, match="pip install fsspec and its file system for nosuch://") as refused:
        files.read("nosuch://bucket/x")
    assert refused.value.code == 64


def _ending(phase: str, at: float, code: int) -> AgentState:
    return AgentState(phase, 0, at, code)


def test_the_first_failure_speaks_for_the_job() -> None:
    done, first, later = _ending("ended", 1, 0), _ending("ended", 5, 7), _ending("ended", 6, 1)
    cut, final, resumable = _ending("cut", 2, 75), _ending("ended", 9, 64), _ending("ended", 4, 75)
    assert verdict([done, done]).code == 0
    assert verdict([later, first, done]) is first
    assert verdict([cut, later]) is later
    assert verdict([cut, done]) is cut
    assert verdict([first, final]) is final
    assert verdict([resumable, done]) is resumable


def test_progress_follows_the_report_and_a_restart(tmp_path: Path) -> None:
    report, url = tmp_path / "report.json", tmp_path.as_uri()
    progress = Progress(url, 4, report)
    progress.phase("setup")

    def told() -> dict[str, object]:
        document: dict[str, object] = json.loads((tmp_path / "progress.json").read_text())
        return document

    assert (told()["phase"], told()["attempt"], told()["step"]) == ("setup", 4, None)
    report.write_text(json.dumps({"step": 9, "metrics": {"loss": 2.0}, "at": None}))  # what the attempt before left
    progress.follow("running", 0)
    assert (told()["phase"], told()["step"], told()["first_step_at"]) == ("running", None, None)
    report.write_text(json.dumps({"step": 3, "metrics": {"loss": 1.0, "steps": 8}, "at": 100.0}))
    progress.follow("recovering", 1)
    assert (told()["phase"], told()["restarts"], told()["step"], told()["steps"]) == ("recovering", 1, 3, 8)
    report.write_text(json.dumps({"step": 2, "metrics": {"loss": 1.5, "steps": 8}, "at": 99.0, "restart": "1"}))
    progress.follow("recovering", 1)
    assert (told()["phase"], told()["step"], told()["metrics"]) == ("running", 2, {"loss": 1.5})
    assert told()["first_step_at"] == "1970-01-01T00:01:40.000Z"


def test_progress_that_cannot_be_written_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "output").write_text("in the way")
    Progress((tmp_path / "output").as_uri(), 1, tmp_path / "none").phase("running")
    assert "cannot write" in capsys.readouterr().out


def test_the_hook_is_harmless_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GPUYARD_STOP_FILE", "GPUYARD_REPORT_FILE"):
        monkeypatch.delenv(name, raising=False)
    hook.report(1, loss=2.0)
    assert (hook.stop_requested(), hook.stop_asked(), hook.last_report()) == (False, False, None)


def test_the_hook_reports_and_hears_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "report"))
    monkeypatch.setenv("RANK", "1")
    hook.report(1)
    assert hook.last_report() is None  # rank 0 alone is heard
    monkeypatch.setenv("RANK", "0")
    hook.report(4, loss=1.5, steps=10)
    hook.report(5, loss=float("nan"))
    assert hook.last_report() == (5, {"loss": None, "steps": 10})
    assert not hook.stop_requested()
    (tmp_path / "stop").touch()
    assert hook.stop_requested()
    with pytest.raises(SystemExit) as left:
        hook.leave_resumable()
    assert left.value.code == 75


def test_a_progress_line_that_cannot_be_written_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "gone" / "report"))
    monkeypatch.setenv("RANK", "0")
    hook.report(1, phase="warmup")  # type: ignore[arg-type]
    assert "progress is not reported" in capsys.readouterr().err
