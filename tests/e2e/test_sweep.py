"""`gpuyard sweep` on a real local pool: killed in the middle, continued, compared; and with Optuna, where a bad trial is pruned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.target import parse_target
from tests.helpers.local_pool import make_target, target_document
from tests.helpers.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
_MAIN = "from gpuyard.stacks.cli import main; main()"
_SCRIPT = """
import argparse, os, time
import gpuyard_hook

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
lr = parser.parse_args().lr
with open({log!r}, "a") as log:
    log.write(f"{{lr}}\\n")
time.sleep(0.5)
gpuyard_hook.report(1, steps=1, loss=(lr - 0.03) ** 2)
time.sleep(60 if lr > 1 else 0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_target(tmp_path)
    (tmp_path / "targets.json").write_text(json.dumps({"local": target_document(tmp_path)}))
    (tmp_path / "code").mkdir()
    (tmp_path / "code/p.py").write_text(_SCRIPT.format(log=str(tmp_path / "log")))
    job = {"name": "tune", "launcher": "none", "preflight": "skip", "code": "code", "command": [sys.executable, "p.py", "--lr", "1"]}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "GPUYARD_TARGETS": str(folder / "targets.json"),
    }
    return subprocess.Popen([sys.executable, "-c", _MAIN, *arguments], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)


def ran(folder: Path) -> list[str]:
    return (folder / "log").read_text().split() if (folder / "log").exists() else []


def test_a_sweep_that_is_killed_continues_and_runs_no_trial_twice(folder: Path) -> None:
    line = ("sweep", "job.yaml", "--param", "lr=0.01,0.02,0.03,0.04,0.05,0.06", "--at-once", "2")
    first = start(folder, *line)
    wait_for(lambda: len(ran(folder)) >= 2, limit_s=30)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert len(ran(folder)) < 6

    again = start(folder, *line, "--json")
    document = json.loads(again.communicate()[0])
    assert again.returncode == 0
    assert sorted(ran(folder)) == ["0.01", "0.02", "0.03", "0.04", "0.05", "0.06"]
    assert [trial["values"] for trial in document["trials"]] == [{"lr": f"0.0{number}"} for number in range(1, 7)]
    assert {trial["status"]["state"] for trial in document["trials"]} == {"SUCCEEDED"}
    chosen = {trial["status"]["run_id"]: trial["values"]["lr"] for trial in document["trials"]}
    assert (document["metric"], chosen[document["best"]]) == ("loss", "0.03")

    compared = start(folder, "compare", "--label", "sweep=tune", "--chart", "sweep.png")
    out = compared.communicate()[0]
    assert compared.returncode == 0
    assert f"best loss *: {document['best']}" in out
    assert out.splitlines()[0].split() == ["lr", "STATE", "loss", "RUN"]
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert len(Runner({"local": parse_target(target_document(folder))}).runs()) == 6


def test_a_sampler_that_learns_and_a_pruner_share_the_journal(folder: Path) -> None:
    pytest.importorskip("optuna")
    values = ("--param", "lr=0.01,0.02,0.03,0.04,0.05,9", "--sampler", "tpe", "--trials", "6", "--prune-after", "1", "--at-once", "3")
    first = start(folder, "sweep", "job.yaml", *values, "--json")
    document = json.loads(first.communicate()[0])
    ended = {trial["values"]["lr"]: (trial["status"]["state"], trial["status"]["reason"]) for trial in document["trials"]}
    pruned = ended.pop("9")  # it sleeps for a minute, so it ends only because it is pruned
    assert (first.returncode, pruned) == (0, ("CANCELLED", "pruned"))
    assert ended == dict.fromkeys(("0.01", "0.02", "0.03", "0.04", "0.05"), ("SUCCEEDED", None))
    [best] = [trial["values"]["lr"] for trial in document["trials"] if trial["status"]["run_id"] == document["best"]]
    assert best == "0.03"
