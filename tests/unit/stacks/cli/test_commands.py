"""The commands as a pipeline uses them: exit codes, JSON documents on stdout, messages on stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from gpuyard.stacks.cli import main, upload
from gpuyard.stacks.cli.pulumi_cli import find_pulumi
from gpuyard.training_jobs.runner import Runner, Submitted
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import parse_target
from tests.helpers.local_pool import make_target, target_document

Cli = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[4]
_MAIN = "from gpuyard.stacks.cli import main; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    target = make_target(tmp_path)
    (tmp_path / "targets.json").write_text(json.dumps({"local": target_document(tmp_path)}))
    yield tmp_path
    watcher = Runner({"local": target})
    for status in watcher.runs():
        watcher.cancel(status.run_id)


def spawn(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GPUYARD_TARGETS": str(folder / "targets.json"), **environment}
    command = [sys.executable, "-c", _MAIN, *arguments]

    def restore_sigint() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore SIGINT, and their children inherit that

    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=restore_sigint
    )


@pytest.fixture
def cli(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs a command in this process, because a new process takes a second each time."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.setenv("GPUYARD_TARGETS", str(folder / "targets.json"))
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["gpuyard", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err, printed.err
        code = left.value.code
        return subprocess.CompletedProcess(arguments, code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


def write_job(folder: Path, **keys: Any) -> str:
    plain = [sys.executable, "-c", "print('hello')"]
    document = {"name": "job", "launcher": "none", "command": plain, "preflight": "skip", **keys}
    (folder / "job.yaml").write_text(json.dumps(document))  # JSON is YAML
    return "job.yaml"


def test_a_repeated_submit_finds_its_run(folder: Path, cli: Cli) -> None:
    job = write_job(folder)
    first = cli("submit", job, "--request-key", "2026-11-22", "--json")
    assert (first.returncode, json.loads(first.stdout)["created"]) == (0, True)
    run = json.loads(first.stdout)["run_id"]
    second = cli("submit", job, "--request-key", "2026-11-22", "--wait", "--json")
    document = json.loads(second.stdout)
    assert (second.returncode, document["created"], document["run_id"]) == (0, False, run)
    assert document["status"]["state"] == "SUCCEEDED"
    status = json.loads(cli("status", run, "--json").stdout)
    assert status["schema"] == "gpuyard.status/1"
    assert (status["attempt"], status["exit_code"], status["service"]["kind"]) == (1, 0, "local")
    assert status["metrics"] == dict.fromkeys(("step", "steps", "loss", "val_loss", "tokens_per_s", "mfu", "goodput", "lost_steps")) | {
        "other": {}
    }
    assert [r["run_id"] for r in json.loads(cli("list", "--json").stdout)["runs"]] == [run]
    assert "\n[node 0] hello\n" in cli("logs", run).stdout
    heading, line = cli("list", "--pool", "local", "--limit", "1").stdout.splitlines()
    assert (heading.split()[0], line.split()[0]) == ("RUN", run)
    assert "\n[node 0] hello\n" in cli("logs", run, "--attempt", "1").stdout
    assert "-> done" in cli("status", run).stdout
    fetched = json.loads(cli("fetch", run, "--into", "results", "--json").stdout)
    assert "output/attempt-1/node-0.json" in fetched["files"]
    assert (folder / "results/output/attempt-1/node-0.json").is_file()


def test_the_jobs_own_code_is_in_the_document_and_the_outcome_is_the_exit_code(folder: Path, cli: Cli) -> None:
    job = write_job(folder, command=[sys.executable, "-c", "print('last words'); raise SystemExit(42)"])
    done = cli("submit", job, "--wait", "--json")
    status = json.loads(done.stdout)["status"]
    assert (done.returncode, status["state"], status["reason"], status["exit_code"]) == (1, "FAILED", "user_error", 42)
    assert status["attempts"][0]["tail"] == ["last words"]
    again = cli("submit", job)
    assert again.returncode == 0
    assert "--retry" in again.stdout
    assert cli("wait", status["run_id"]).returncode == 1
    retried = cli("submit", job, "--retry", "--wait", "--json")
    assert json.loads(retried.stdout)["status"]["attempt"] == 2
    new = json.loads(cli("submit", job, "--again", "--json").stdout)
    assert new["created"]
    assert new["run_id"] != status["run_id"]


@pytest.mark.parametrize(
    ("state", "code"), [("RUNNING", 0), ("SUCCEEDED", 0), ("FAILED", 124), ("CANCELLED", 1), ("UNKNOWN", 8)]
)  # fmt: skip
def test_check_turns_a_schedule_red(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, state: str, code: int) -> None:
    job = write_job(folder)
    first = Runner({"local": parse_target(target_document(folder))}).submit(parse_job(json.loads((folder / job).read_text())), None)
    status = first.status.model_copy(update={"state": State(state), "reason": Reason.TIMEOUT if state == "FAILED" else None})
    monkeypatch.setattr(Runner, "submit", lambda *_, **__: Submitted(False, f"adopted: it is {state}", status))
    done = cli("submit", job, "--check")
    assert (done.returncode, state in done.stdout) == (code, code != 0)


def test_another_job_under_one_key_is_refused_with_the_difference(folder: Path, cli: Cli) -> None:
    assert cli("submit", write_job(folder), "--request-key", "k").returncode == 0
    other = cli("submit", write_job(folder, env={"A": "1"}), "--request-key", "k", "--json")
    document = json.loads(other.stdout)
    assert (other.returncode, document["schema"], document["exit_code"]) == (2, "gpuyard.error/1", 2)
    assert document["problems"][0] == {"key": "env.A", "what": 'was null, is "1"', "got": None, "allowed": None, "fix": None}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"nodez": 2}, ["nodez", "did you mean 'nodes'?"]),
        ({"nodes": 3}, ["nodes: more nodes than the pool has, got 3, allowed: 1..2"]),
        ({"gpus": "H100:8"}, ["gpus", "no GPUs"]),
        ({"command": []}, ["command"]),
        ({"launcher": "torchrun", "command": ["torchrun", "x.py"]}, ["gpuyard starts torchrun"]),
        ({"code": "nowhere"}, ["no such folder"]),
        ({"env": {"K": "AKIAABCDEFGHIJKLMNOP"}}, ["looks like a secret", "secrets:"]),
        ({"pool": "lokal"}, ["lokal", "did you mean 'local'?"]),
        ({"timeout": "forever", "nodes": "two"}, ["timeout", "nodes"]),
    ],
)
def test_bad_input_is_exit_2_and_leaves_nothing(folder: Path, cli: Cli, keys: dict[str, Any], words: list[str]) -> None:
    done = cli("submit", write_job(folder, **keys))
    assert done.returncode == 2
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr
    assert list((folder / "bucket").iterdir()) == []


def test_a_conflict_leaves_no_code_behind(folder: Path, cli: Cli) -> None:
    (folder / "src").mkdir()
    (folder / "src/a.py").write_text("1")
    assert cli("submit", write_job(folder, code="src"), "--request-key", "k").returncode == 0
    (folder / "src/a.py").write_text("2")
    assert cli("submit", write_job(folder, code="src"), "--request-key", "k").returncode == 2
    assert len(list((folder / "bucket/gpuyard/code").iterdir())) == 1


def test_a_dry_run_shows_the_requests_and_writes_nothing(folder: Path, cli: Cli) -> None:
    document = json.loads(cli("submit", write_job(folder), "--dry-run", "--json").stdout)
    assert document["requests"][0]["operation"] == "enqueue"
    assert document["requests"][0]["body"]["environment"]["GPUYARD_RUN_ID"] == document["run_id"]
    assert list((folder / "bucket").iterdir()) == []


def test_a_dry_run_lists_the_files_that_are_sent_and_left_out(folder: Path, cli: Cli) -> None:
    (folder / "src").mkdir()
    (folder / "src/train.py").write_text("")
    (folder / "src/configs").symlink_to("/etc")
    done = cli("submit", write_job(folder, code="src"), "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert document["files"] == ["train.py"]
    assert document["left_out"][0].startswith("configs: a link that leaves the code folder")
    assert done.stderr == f"not sent: {document['left_out'][0]}\n"


def test_unknown_names_and_files(folder: Path, cli: Cli) -> None:
    unknown = cli("status", "nope-123456789abc")
    assert unknown.returncode == 7
    assert "gpuyard list" in unknown.stderr
    assert cli("list").stdout.startswith("no runs yet")
    assert cli("list", "--state", "failed", "--since", "7d", "--label", "team=nlp").stdout.startswith("no run matches the options")
    for options, message in (
        (("--state", "FALED"), "--state: unknown state, got FALED, allowed: PENDING, RUNNING"),
        (("--label", "nlp"), "--label: not a label and its value, got nlp, allowed: NAME=VALUE, such as team=nlp"),
        (("--since", "yesterday"), "--since: wrong value, got yesterday, allowed: a duration such as 10m"),
        (("--pool", "locl"), "pool: no pool of this name takes jobs, got locl, allowed: local; did you mean 'local'?"),
    ):
        wrong = cli("list", *options)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert message in wrong.stderr
    missing = cli("list", GPUYARD_TARGETS=str(folder / "nowhere.json"))
    assert missing.returncode == 2
    assert "pulumi up" in missing.stderr


def test_targets_of_a_newer_version(folder: Path, cli: Cli) -> None:
    document = {"local": target_document(folder) | {"version": 2}}
    (folder / "targets.json").write_text(json.dumps(document))
    done = cli("pools")
    assert done.returncode == 2
    assert "newer gpuyard" in done.stderr


@pytest.mark.parametrize("where", ["foo://x/targets.json", "/bin/ls", "/", "no/such/file.json"])
def test_targets_that_cannot_be_read(folder: Path, cli: Cli, where: str) -> None:
    done = cli("pools", "--targets", where)
    assert done.returncode == 2
    assert where in done.stderr


def test_a_stack_that_is_not_up(folder: Path, cli: Cli) -> None:
    (folder / "pulumi").write_text("#!/bin/sh\necho \"error: no stack named 'local' found\" >&2\nexit 255\n")
    (folder / "pulumi").chmod(0o755)
    done = cli("pools", "--stack", "local", PATH=f"{folder}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert "is not up" in done.stderr
    assert "make demo" in done.stderr


def test_the_order_of_the_sources_of_targets(folder: Path, cli: Cli) -> None:
    """The order is --stack, GPUYARD_TARGETS, the selected stack, local. The fake pulumi records its arguments."""
    outputs = json.dumps({"local": target_document(folder)})
    (folder / "outputs").write_text(outputs)
    (folder / "pulumi").write_text(
        f'#!/bin/sh\necho "$*" >> {folder}/calls\nif [ "$2" = "--show-name" ]; then echo "$SELECTED"; exit 0; fi\ncat {folder}/outputs\n'
    )
    (folder / "pulumi").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"

    def pulumi_calls(*options: str, **environment: str) -> list[str]:
        (folder / "calls").write_text("")
        assert cli("pools", *options, PATH=path, **environment).returncode == 0
        return (folder / "calls").read_text().splitlines()

    assert pulumi_calls() == []  # GPUYARD_TARGETS
    assert "--stack prod" in pulumi_calls("--stack", "prod")[-1]
    assert "--stack dev" in pulumi_calls(GPUYARD_TARGETS="", SELECTED="dev")[-1]
    assert "--stack local" in pulumi_calls(GPUYARD_TARGETS="", SELECTED="")[-1]
    both = cli("pools", "--stack", "prod", "--targets", "other.json", PATH=path)
    assert both.returncode == 2
    for option in ("--stack", "--targets"):
        empty = cli("pools", option, "", GPUYARD_TARGETS="")
        assert (empty.returncode, f"{option}: empty" in empty.stderr) == (2, True), empty.stderr


def test_ctrl_c_does_not_end_the_run_and_prints_how_to_continue(folder: Path, cli: Cli) -> None:
    job = write_job(folder, command=[sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
    run = json.loads(cli("submit", job, "--json").stdout)["run_id"]
    waiting, reading = spawn(folder, "wait", run), spawn(folder, "logs", "-f", run)
    assert reading.stdout is not None
    assert waiting.stdout is not None
    assert [reading.stdout.readline() for _ in range(2)][1] == "[node 0] up\n"  # after the line of the node
    assert any("RUNNING" in line for line in iter(waiting.stdout.readline, ""))  # PENDING may come first
    for process in (waiting, reading):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert f"gpuyard wait {run}" in err
        assert f"gpuyard cancel {run}" in err
    named = cli("submit", job, "--targets", str(folder / "targets.json"))
    assert f"gpuyard logs -f {run} --targets {folder}/targets.json" in named.stdout
    assert json.loads(cli("status", run, "--json").stdout)["state"] == "RUNNING"
    assert "1 of 2 free" in cli("pools").stdout
    begun = time.monotonic()
    cancelled = cli("cancel", run, "--json")
    assert (cancelled.returncode, json.loads(cancelled.stdout)["state"]) == (0, "CANCELLED")
    assert time.monotonic() - begun < 20  # the job exits on SIGTERM, before the 30 s of grace are over
    assert cli("wait", run).returncode == 1


def test_every_document_validates_against_the_schema_that_gpuyard_prints(folder: Path, cli: Cli) -> None:
    names = cli("schema").stdout.split()
    assert names[:3] == ["job", "stack", "target"]
    for name in names:
        schema = json.loads(cli("schema", name).stdout)
        assert schema.get("type") == "object" or {part["$ref"] for part in schema["oneOf"]}
        fields = schema.get("properties", {}).values()
        assert all("description" in field or "$ref" in field for field in fields) or name not in {"job", "stack"}
    assert cli("schema", "statsu").returncode == 2


def test_only_arguments_after_two_hyphens_are_appended_to_the_command(folder: Path, cli: Cli) -> None:
    job = write_job(folder)
    wrong = cli("submit", job, "l4")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "l4: unexpected argument; write an option, or -- before arguments for the job's command" in wrong.stderr
    done = json.loads(cli("submit", job, "--wait", "--json", "--", "--lr", "0.2").stdout)
    assert done["status"]["command"][-2:] == ["--lr", "0.2"]


def test_a_sweep_and_a_comparison_refuse_what_they_cannot_do(folder: Path, cli: Cli) -> None:
    job = write_job(folder)
    for arguments, message in (
        (("sweep", job), "--param: required, allowed: NAME=A,B,C"),
        (("sweep", job, "--param", "lr=1,2", "--goal", "best"), "--goal: unknown goal, got best, allowed: min, max"),
        (("sweep", job, "--param", "nodes=1,x"), "nodes: wrong value, got 'x'"),
        (("sweep", job, "--param", "a=1,2", "--sampler", "grid"), "--sampler: unknown sampler, got grid, allowed: random, tpe, gp"),
        (("compare",), "RUN: run ids or --label are required, not both"),
        (("compare", "x", "--label", "a=b"), "RUN: run ids or --label are required, not both"),
    ):
        wrong = cli(*arguments)
        assert (wrong.returncode, wrong.stdout) == (2, ""), arguments
        assert message in wrong.stderr
    planned = cli("sweep", job, "--param", "lr=1,2", "--param", "env.X=a,b", "--dry-run")
    assert planned.stdout.splitlines()[1] == "trial 2  lr=1  env.X=b"
    few = cli("sweep", job, "--key", "few", "--param", "lr=1,2", "--trials", "9", "--dry-run", "--json")
    assert few.stderr == "--trials 9: the parameters have only 2 combinations\n"
    document = json.loads(few.stdout)
    assert document["schema"] == "gpuyard.sweep-plan/1"
    assert sorted((trial["values"]["lr"], trial["command"][-1]) for trial in document["trials"]) == [("1", "--lr=1"), ("2", "--lr=2")]
    assert {trial["request_key"].partition("/")[0] for trial in document["trials"]} == {"few"}
    assert cli("compare", "--label", "sweep=none").stdout.startswith("no run has this label")
    assert cli("list").stdout.startswith("no runs yet")


def test_an_argparse_script_reads_uploaded_files_unchanged(folder: Path, cli: Cli) -> None:
    (folder / "corpus").mkdir()
    (folder / "corpus/a.txt").write_text("to be")
    (folder / "code").mkdir()
    script = "import argparse, pathlib\np = argparse.ArgumentParser()\np.add_argument('--data', type=pathlib.Path)\n"
    (folder / "code/t.py").write_text(script + "print('read', *(f.read_text() for f in p.parse_args().data.glob('*.txt')))")
    data = {"corpus": {"url": "yard://runs/data/corpus", "mount": "copy"}}
    job = write_job(folder, code="code", command=[sys.executable, "t.py", "--data", "${GPUYARD_DATA_CORPUS}"], data=data)
    early = cli("submit", job)
    assert (early.returncode, "gpuyard upload PATH yard://runs/data/corpus" in early.stderr) == (2, True)
    assert "1/1  sent  a.txt" in cli("upload", "corpus", "yard://runs/data/corpus").stderr
    again = cli("upload", "corpus", "yard://runs/data/corpus", "--json")
    assert (json.loads(again.stdout)["unchanged"], "1/1  is there  a.txt" in again.stderr) == (1, True)
    done = cli("submit", job, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert "[node 0] read to be\n" in cli("logs", json.loads(done.stdout)["run_id"]).stdout


def test_the_progress_of_one_large_file_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter((0.0, 1.0, 6.0, 6.0, 7.0))
    progress = upload._Progress(40_000_000, lambda: next(times))
    progress.add(1_000_000)
    progress.add(9_000_000)
    progress.add(1)
    assert capsys.readouterr().err == "10.0 of 40.0 MB\n"


def test_a_search_checks_both_ends_of_a_range_and_plans_its_first_trial(folder: Path, cli: Cli) -> None:
    job = write_job(folder)
    pytest.importorskip("optuna")
    learning = ("--sampler", "tpe", "--trials", "5", "--dry-run")
    wrong = cli("sweep", job, "--param", "nodes=0..4", *learning)
    assert (wrong.returncode, "nodes: wrong value, got '0'" in wrong.stderr) == (2, True)
    first = cli("sweep", job, "--param", "lr=0.1..0.5", *learning)
    assert first.stdout.startswith("trial 1  lr=0.")
    assert first.stderr == "the values of trials 2 to 5 depend on the results of earlier ones\n"


def test_the_version_is_printed_without_loading_the_package() -> None:
    code = "import sys; sys.argv = ['gpuyard', '--version']\ntry:\n from gpuyard.stacks.cli import main; main()\n"
    code += "except SystemExit as left: assert not left.code\nassert not {'pydantic', 'yaml', 'pulumi'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
    assert done.stdout == f"gpuyard {version('gpuyard')}\n"


def test_doctor_answers_without_a_yard(folder: Path, cli: Cli) -> None:
    document = json.loads(cli("doctor", "--json").stdout)
    checks = {check["name"]: check for check in document["checks"]}
    assert {"python", "pulumi", "project", "torch", "aws", "gcp", "azure", "local yard"} <= set(checks)
    assert all(check["ok"] or check["fix"] for check in checks.values())


def test_since_takes_durations_and_times(folder: Path, cli: Cli) -> None:
    run = json.loads(cli("submit", write_job(folder), "--wait", "--json").stdout)["run_id"]
    assert "\n[node 0] hello\n" in cli("logs", run, "--since", "10m").stdout
    assert cli("logs", run, "--since", "2099-01-01T00:00").stdout == ""
    assert cli("logs", run, "--since", "yesterday").returncode == 2
    assert cli("logs", run, "--node", "3").returncode == 2


def test_the_newest_complete_engine_of_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, whole in (("v3.99.0", True), ("v3.259.0", True), ("v3.300.0", False), ("v3.259.0.tmp-7", True)):
        folder = tmp_path / "gpuyard/engine" / name
        folder.mkdir(parents=True)
        if whole:
            (folder / "complete.json").write_text("{}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_pulumi() == tmp_path / "gpuyard/engine/v3.259.0/pulumi"
