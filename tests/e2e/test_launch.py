"""How a node ends when something fails: real processes, the real bootstrap, 2 nodes on loopback addresses."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes.metadata_services import GCP, metadata
from tests.helpers.node_processes import NodeProcesses, finish
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's")

CRASHES = """
import os, sys, time
if os.environ["RANK"] == "1":
    for line in range(40):
        print("line", line)
    sys.exit(int(sys.argv[1]))
time.sleep(120)
"""
SLEEPS = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1], f"{os.environ.get('RANK', os.environ['GPUYARD_NODE_RANK'])}.pid").write_text(str(os.getpid()))
time.sleep(120)
"""


def _alive(folder: Path) -> list[int]:
    pids = [int(path.read_text()) for path in folder.glob("*.pid")]
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_crash_is_reported_with_its_code_and_last_lines(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["crash.py", "7"], "nproc_per_node": 1, "max_restarts": 1}, {"crash.py": CRASHES})
    assert finish(run.submit()) == [7, 7], run.log(0)
    for node in (0, 1):
        result = run.output(1, f"node-{node}.json")
        assert (result["exit_code"], result["rank"], result["signal"], result["restarts"], result["stopped"]) == (7, 1, None, 1, False)
        assert result["tail"] == [f"line {line}" for line in range(10, 40)]
    assert run.log(1).count("line 39") == 2  # the first try and the one restart


def test_a_bad_configuration_is_not_retried(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["crash.py", "64"], "nproc_per_node": 1, "max_restarts": 3}, {"crash.py": CRASHES})
    assert finish(run.submit()) == [64, 64], run.log(0)
    assert [run.output(1, f"node-{node}.json")["restarts"] for node in (0, 1)] == [0, 0]


def test_a_node_killed_with_9_leaves_no_worker_and_ends_the_others(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["sleep.py", str(tmp_path)], "nproc_per_node": 1, "max_restarts": 2}, {"sleep.py": SLEEPS})
    nodes = run.submit()
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    began = time.monotonic()
    nodes[0].send_signal(signal.SIGKILL)
    assert finish(nodes) == [-signal.SIGKILL, 75], run.log(1)
    assert time.monotonic() - began < 10
    wait_for(lambda: not _alive(tmp_path), limit_s=5)
    assert run.output(1, "node-1.json")["tail"] == ["gpuyard: node 0 was lost: its connection broke"]


def test_an_agent_killed_with_9_ends_all_nodes_and_their_workers(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["sleep.py", str(tmp_path)], "nproc_per_node": 1, "max_restarts": 2}, {"sleep.py": SLEEPS})
    nodes = run.submit()
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    agents = [child for child in psutil.Process(nodes[1].pid).children() if "gpuyard.training_jobs.launch.agent" in child.cmdline()]
    began = time.monotonic()
    agents[0].kill()
    assert finish(nodes) == [137, 137], run.log(0)
    assert time.monotonic() - began < 10
    wait_for(lambda: not _alive(tmp_path), limit_s=5)
    assert "torchrun's agent exited with code 137 and wrote no result" in run.log(1)


def test_a_process_that_ignores_a_stop_is_killed_within_the_grace(tmp_path: Path) -> None:
    argv = [sys.executable, "sleep.py", str(tmp_path)]
    run = NodeProcesses(tmp_path, {"command": argv, "launcher": "none"}, {"sleep.py": SLEEPS})
    nodes = run.submit(grace_s=2)
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    began = time.monotonic()
    nodes[1].send_signal(signal.SIGTERM)
    assert finish(nodes) == [75, 75], run.log(0)
    assert time.monotonic() - began < 20
    assert not _alive(tmp_path)
    assert [run.output(1, f"node-{node}.json")["stopped"] for node in (0, 1)] == [True, True]


def test_a_cloud_notice_on_one_node_stops_all_nodes_within_its_time(tmp_path: Path) -> None:
    script = """
import os, pathlib, sys, time, gpuyard_hook
gpuyard_hook.report(1, save_s=500.0)
pathlib.Path(sys.argv[1], os.environ["GPUYARD_NODE_RANK"] + ".pid").touch()
while not gpuyard_hook.stop_requested():
    time.sleep(0.02)
print("saves within", round(gpuyard_hook.seconds_left(), -1), flush=True)
sys.exit(75)
"""
    with metadata("gcp") as service:
        env = {1: {"GPUYARD_NOTICE": "gcp", "GPUYARD_METADATA_URL": service.url}}
        job = {"command": [sys.executable, "train.py", str(tmp_path)], "launcher": "none"}
        run = NodeProcesses(tmp_path, job, {"train.py": script}, node_env=env)
        nodes = run.submit(grace_s=3)
        # Node 0 watches SIGTERM only. It prints its time left as soon as it knows how long a save takes.
        wait_for(lambda: "an emergency checkpoint takes 500.0 s, the preemption notice gives 3 s: too short" in run.log(0))
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        service.responses[f"{GCP}/maintenance-event"] = b"TERMINATE_ON_HOST_MAINTENANCE"
        assert finish(nodes) == [75, 75], run.log(0)
    assert f"gpuyard: node 1: maintenance: TERMINATE_ON_HOST_MAINTENANCE (3600 s given; {service.url}" in run.log(1)
    for node in (0, 1):
        assert "stop requested: the workers have 600 s to save and exit" in run.log(node)  # not in the 3 s of a SIGTERM
        assert "saves within 600" in run.log(node)
        assert run.output(1, f"node-{node}.json")["stopped"]
    assert "an emergency checkpoint takes 500.0 s, the preemption notice gives 600 s\n" in run.log(0)


def test_setup_secrets_and_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    script = """
import os, gpuyard_hook
assert gpuyard_hook.__name__ == "gpuyard.training_jobs.launch.hook"
gpuyard_hook.report(3, steps=9, loss=1.5)
names = ("TOKEN", "COLOUR", "GPUYARD_ATTEMPT", "GPUYARD_DATA_BIG_TEXT", "GPUYARD_CHECKPOINT_KEEP")
print("sees", *(os.environ[name] for name in names))
tokens = os.environ["GPUYARD_DATA_TOKENS"]
print("copied", open(tokens + "/a.txt").read(), open("by-setup").read(), tokens.startswith(os.environ["GPUYARD_WORKDIR"]))
"""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens/a.txt").write_text("once")
    job = {
        "launcher": "none", "command": [sys.executable, "see.py"], "setup": ["cp", "${GPUYARD_DATA_TOKENS}/a.txt", "by-setup"],
        "secrets": {"TOKEN": f"file:{secret}"}, "env": {"COLOUR": "red", "GPUYARD_ATTEMPT": "99"},
        "data": {"big-text": "file:///d", "tokens": (tmp_path / "tokens").as_uri()}, "copied_data": ["tokens"],
    }  # fmt: skip
    run = NodeProcesses(tmp_path / "run", job, {"see.py": script})
    run.folder.mkdir()
    assert finish(run.submit()) == [0, 0], run.log(0)
    assert "sees s3cret red 1 file:///d 3" in run.log(1)
    assert "copied once once True" in run.log(1)
    assert not list(run.folder.glob("*/.state/data")), "a copy was left on the node's disk"
    progress = run.output(1, "progress.json")
    assert (progress["phase"], progress["step"], progress["steps"], progress["metrics"]) == ("ended", 3, 9, {"loss": 1.5})
    assert not [path for path in run.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes() and path.suffix != ".log"]
    secret.chmod(0o644)
    assert finish(run.submit()) == [64, 64]
    assert "other users can read it, got mode 0644" in run.log(0)
    assert finish(run.submit(setup=["sh", "-c", "echo no such package; exit 3"], secrets={})) == [3, 3]
    assert run.output(3, "node-0.json")["tail"][0] == "no such package"


def test_preflight_only_measures_and_runs_no_job(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"preflight": "only", "command": ["never.py"]})
    assert finish(run.submit()) == [0, 0], run.log(0)
    verdict = run.output(1, "preflight.json")
    assert verdict["verdict"] == "ok"
    assert verdict["checks"]["all_reduce"]["busbw_gbs"] > 0
    assert verdict["checks"]["storage"]["write_mbs"] > 0
    assert verdict["skipped"][0].startswith("GPU, NCCL: ")
    assert "preflight ok: gloo all-reduce" in run.log(0)
    assert [node["node"] for node in verdict["nodes"]] == [0, 1]
    assert abs(verdict["nodes"][1]["clock"]["ahead_s"]) < 0.5
    assert verdict["nodes"][1]["storage"]["read_mbs"] > 0
    assert verdict["took_s"] < 60


def test_a_network_below_its_floor_ends_all_nodes_with_69(tmp_path: Path) -> None:
    fabric = {"transport": "gloo", "line_rate_gbps": 1e6, "floor": 0.4}
    run = NodeProcesses(tmp_path, {"preflight": "required", "command": ["never.py"], "fabric": fabric})
    assert finish(run.submit()) == [69, 69], run.log(0)
    verdict = run.output(1, "preflight.json")
    assert verdict["verdict"] == "failed"
    assert verdict["failures"][0].endswith("of 1000000 Gb/s, the floor is 40%")
    for node in (0, 1):
        assert "the floor is 40%" in run.log(node)
        assert run.output(1, f"node-{node}.json")["exit_code"] == 69


def test_an_unwritable_run_bucket_is_a_clear_error(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"nodes": 1, "launcher": "none", "command": ["true"]})
    run.run.mkdir(parents=True)
    (run.run / "attempts").write_text("in the way")  # a file mode would not stop root
    assert finish(run.submit()) == [74]
    assert "cannot read or write the run's storage" in run.log(0)


USES_GROUPS = """
import os, pathlib, sys, time
import torch.distributed as dist
dist.init_process_group("gloo")
dist.barrier()
dist.new_group([0, 1])
time.sleep(0.5)
dist.barrier()
dist.destroy_process_group()
"""


def test_every_socket_of_a_job_listens_on_a_node_s_own_address(tmp_path: Path) -> None:
    job = {"command": ["groups.py"], "nproc_per_node": 1, "preflight": "required"}
    run = NodeProcesses(tmp_path, job, {"groups.py": USES_GROUPS})
    nodes, listening = run.submit(), set()
    while any(node.poll() is None for node in nodes):
        for pid in run.processes():
            with contextlib.suppress(psutil.Error):
                found = psutil.Process(pid).net_connections(kind="tcp")
                listening |= {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}
    assert finish(nodes) == [0, 0], run.log(0)
    assert listening <= {"127.0.77.10", "127.0.77.11", "127.0.0.1"}  # gloo takes the first address of the interface `lo`
    assert "127.0.77.10" in listening


SAVES_LATE = """
import os, pathlib, sys, time, gpuyard_hook
import torch.distributed as dist
dist.init_process_group("gloo")
folder, rank = pathlib.Path(sys.argv[1]), os.environ["RANK"]
(folder / f"{rank}.ready").touch()
while not gpuyard_hook.stop_requested():
    time.sleep(0.05)
if rank == "1":
    time.sleep(8)
    (folder / "shard").write_text("saved")
os._exit(int(sys.argv[2]))
"""


def test_node_0_that_ends_first_lets_the_others_save(tmp_path: Path) -> None:
    run = NodeProcesses(tmp_path, {"command": ["late.py", str(tmp_path), "75"], "nproc_per_node": 1}, {"late.py": SAVES_LATE})
    nodes = run.submit()
    wait_for(lambda: len(list(tmp_path.glob("*.ready"))) == 2)
    nodes[0].send_signal(signal.SIGTERM)
    assert finish(nodes) == [75, 75], run.log(1)
    assert (tmp_path / "shard").read_text() == "saved", run.log(1)
    assert "Traceback" not in run.log(0) + run.log(1)


def test_the_failure_of_a_script_on_node_0_ends_no_log_with_an_internal_traceback(tmp_path: Path) -> None:
    script = "import os, sys, time\nif os.environ['RANK'] == '0': sys.exit('my own mistake')\ntime.sleep(60)"
    run = NodeProcesses(tmp_path, {"command": ["fails.py"], "nproc_per_node": 1}, {"fails.py": script})
    assert finish(run.submit()) == [1, 1], run.log(1)
    assert "my own mistake" in run.log(0)
    for node in (0, 1):
        assert "Traceback" not in run.log(node), run.log(node)
        assert "Error" not in run.log(node), run.log(node)
