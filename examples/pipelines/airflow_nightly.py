"""Train every night from Airflow 3 (docs/pipelines.md). One key per day: a retry of the task finds its run or resumes it.

The worker needs gpuyard[aws], GPUYARD_TARGETS and a role of its own. It does not need Pulumi.
"""

import datetime
import json
import subprocess
from pathlib import Path

from airflow.exceptions import AirflowException, AirflowFailException
from airflow.sdk import dag, task

JOB = Path(__file__).with_name("nightly.yaml")
AGAIN = {8: "lost sight of the job, which may still run", 75: "stopped, resumable"}


def train(key: str) -> dict[str, object]:
    """Submit once per key, wait for the end, and return the checkpoint's URL and the validation loss."""
    argv = ["gpuyard", "submit", str(JOB), "--request-key", key, "--wait", "--json"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode in AGAIN:  # the same line again helps: Airflow retries
        raise AirflowException(f"{AGAIN[done.returncode]} (exit {done.returncode})")
    if done.returncode:  # the job failed or the input is wrong: a retry costs money and changes nothing
        raise AirflowFailException(f"exit {done.returncode}: {done.stdout[-2000:]}")
    status = json.loads(done.stdout)["status"]
    return {"run": status["run_id"], "checkpoint": status["checkpoint_url"], "val_loss": status["metrics"]["val_loss"]}


@dag(
    schedule="17 2 * * *",
    start_date=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 20, "retry_delay": datetime.timedelta(minutes=1), "execution_timeout": datetime.timedelta(hours=13)},
)
def nightly_training() -> None:
    """Submit the nightly job."""
    task(train)(key="{{ ds }}")


nightly_training()
