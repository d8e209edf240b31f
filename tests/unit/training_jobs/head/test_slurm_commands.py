"""Slurm's commands: their arguments, what is read from their output, and which failures are refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import LostSightError, UsageError
from gpuyard.training_jobs.head.slurm import JobRow, Partition, RefusedError, SlurmCommands, _run
from gpuyard.training_jobs.mailbox import Ticket
from gpuyard.training_jobs.state import Reason

RUN = "night-0123456789ab"
ENVIRONMENT = {"PATH": "/usr/bin", "PYTHONPATH": "/own", "GPUYARD_TARGETS": "x", "AWS_PROFILE": "lab"}
ANSWERS = {
    "squeue": "7|night-0123456789ab.0-a|RUNNING|None|1796119202|N/A\n8|other|PENDING|Resources|N/A|N/A\n9|odd|name|x\n",
    "sinfo": "2|idle\n1|mixed\n3|down*\n1|allocated\n1|draining\n4|idle~\n",
    "scontrol": "KillWait                = 30 sec\n",
    "sbatch": "7;cluster\n",
}


class Recorder:
    """Answers commands and keeps them."""

    def __init__(self, **answers: str) -> None:
        self.answers = {**ANSWERS, **answers}
        self.calls: list[tuple[list[str], dict[str, str], str | None]] = []
        self.error: Exception | None = None

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], text: str | None) -> str:
        self.calls.append((list(argv), dict(env), text))
        if self.error is not None and argv[0] == "sbatch":
            raise self.error
        return self.answers[argv[0]]


def ticket(nodes: int = 2, gpus: int = 8) -> Ticket:
    environment = {"GPUYARD_RUN_URL": f"s3://runs/gpuyard/runs/{RUN}", "GPUYARD_SUBMISSION": "0"}
    return Ticket(run_id=RUN, nodes=nodes, gpus_per_node=gpus, limit_s=3601, limit_reason=Reason.TIMEOUT, environment=environment)


def commands(recorder: Recorder, **keys: str) -> SlurmCommands:
    return SlurmCommands("gpu", Path("/shared/jobs"), "/opt/torch/bin/python", environment=ENVIRONMENT, run=recorder, **keys)


def test_a_job_is_submitted_with_fixed_text_and_everything_else_in_variables() -> None:
    recorder = Recorder()
    assert commands(recorder, account="nlp", qos="high").submit(f"{RUN}.0-a", ticket(), "s" * 64) == "7"
    argv, env, script = recorder.calls[-1]
    assert argv == [
        "sbatch", "--parsable", f"--job-name={RUN}.0-a", "--partition=gpu", "--nodes=2", "--ntasks-per-node=1", "--exclusive",
        "--no-requeue", "--dependency=singleton", "--time=62", "--chdir=/shared/jobs", f"--output={RUN}.0-a.out", "--export=ALL",
        "--account=nlp", "--qos=high", "--gpus-per-node=8",
    ]  # fmt: skip
    assert script is not None
    assert RUN not in script
    expected = {
        "GPUYARD_SERVICE": "slurm", "GPUYARD_GRACE_S": "28", "GPUYARD_CHANNEL_SECRET": "s" * 64, "GPUYARD_PYTHON": "/opt/torch/bin/python",
        "GPUYARD_LOGS_URL": f"s3://runs/gpuyard/runs/{RUN}/logs/0-a", "AWS_PROFILE": "lab", "GPUYARD_SUBMISSION": "0",
    }  # fmt: skip
    assert expected.items() <= env.items()
    assert not {"PYTHONPATH", "GPUYARD_TARGETS"} & env.keys()


def test_a_job_of_one_node_gets_no_secret_and_a_cluster_without_gpus_no_gpu_option() -> None:
    recorder = Recorder()
    commands(recorder).submit(f"{RUN}.0-a", ticket(nodes=1, gpus=0), "s")
    argv, env, _ = recorder.calls[-1]
    assert "GPUYARD_CHANNEL_SECRET" not in env
    assert not [each for each in argv if each.startswith(("--gpus", "--account", "--qos"))]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sbatch failed: error: Unable to contact slurm controller (connect failure)", LostSightError),
        ("sbatch failed: error: Batch job submission failed: Socket timed out on send/recv operation", LostSightError),
        ("sbatch failed: error: Batch job submission failed: Invalid account or account/partition combination specified", RefusedError),
        ("sbatch failed: error: Batch job submission failed: Requested node configuration is not available", RefusedError),
    ],
)
def test_an_outage_is_told_from_a_refusal(text: str, kind: type[Exception]) -> None:
    recorder = Recorder()
    recorder.error = LostSightError(text)
    with pytest.raises(kind):
        commands(recorder).submit(f"{RUN}.0-a", ticket(), "s")


def test_jobs_and_nodes_are_read_and_odd_lines_are_ignored() -> None:
    recorder = Recorder()
    found = commands(recorder)
    assert found.jobs() == {
        "night-0123456789ab.0-a": [JobRow("7", "night-0123456789ab.0-a", "RUNNING", "None", 1796119202.0, None)],
        "other": [JobRow("8", "other", "PENDING", "Resources", None, None)],
    }
    assert recorder.calls[0][1]["SLURM_TIME_FORMAT"] == "%s"
    assert found.partition() == Partition(nodes=8, free=6, waiting=3)


@pytest.mark.parametrize(("text", "code"), [("JobId=7 ExitCode=9:0 RunTime=1", 9), ("JobId=7 ExitCode=0:15", None), ("", None)])
def test_the_exit_code_of_a_job_is_none_after_a_signal(text: str, code: int | None) -> None:
    assert commands(Recorder(scontrol=text)).exit_code("7") == code


def test_a_missing_command_and_a_failing_one_are_told_apart() -> None:
    with pytest.raises(UsageError, match="no-such-command is not installed here"):
        _run(["no-such-command"], {"PATH": "/usr/bin"})
    with pytest.raises(LostSightError, match="sh failed: refused by the controller"):
        _run(["sh", "-c", "echo refused by the controller >&2; exit 1"], {"PATH": "/usr/bin:/bin"})


def test_an_unknown_partition_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        commands(Recorder(sinfo="cpu\nbig\ncpu\n")).check()
    (problem,) = caught.value.problems
    assert (problem.key, problem.got, problem.allowed) == ("--partition", "gpu", "big, cpu")
    commands(Recorder(sinfo="cpu\ngpu\n")).check()
