"""launch on Azure ML: objects and claims on Blob Storage, code, Key Vault secrets, placement, times on log lines."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from gpuyard.training_jobs.launch import objects, secrets, topology
from gpuyard.training_jobs.launch.environment import worker_environment
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement, read_placement
from gpuyard.training_jobs.store import BlobStore
from tests.fakes.azure.blob_storage import Storage, storage
from tests.fakes.azure.entra import NodeIdentity
from tests.fakes.azure.https_service import UNAVAILABLE
from tests.fakes.azure.key_vault import FakeVault
from tests.helpers.launch_checks import (
    bootstrap,
    check_data_copy,
    check_objects,
    claim_concurrently,
    launching_tarball,
    refusal_of_wrong_names,
)

CHECKOUT = Path(__file__).resolve().parents[4]
SECRET = "hunter2"
NAME = "https://acme.vault.azure.net/secrets/wandb"
VERSION = f"{NAME}/{'0' * 32}"


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    with FakeVault({"acme/wandb": SECRET, f"acme/wandb/{'0' * 32}": "older"}) as found:
        yield found


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vault: FakeVault) -> Iterator[Storage]:
    """Run a storage account that accepts a cluster node's managed identity, without a pipeline's token."""
    with NodeIdentity() as identity, storage(tmp_path, monkeypatch, {".vault.azure.net": vault.server_port}) as found:
        for name in ("AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
            monkeypatch.delenv(name)
        node = identity.environment()
        for name, value in {**node, "AZURE_CLIENT_ID": node["DEFAULT_IDENTITY_CLIENT_ID"]}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
        # aiohttp reads SSL_CERT_FILE when it is imported, and another test may have done that.
        trusting = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
        yield found
        fsspec.get_filesystem_class("abfs").clear_instance_cache()  # a cached instance keeps its test's credentials


def test_a_file_system_without_conditional_writes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(path: str, value: bytes, **more: object) -> None:
        raise TypeError(f"Session.request() got an unexpected keyword argument {next(iter(more))!r}")

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url, **_: (SimpleNamespace(_pipe_file=old, pipe_file=old), "runs/a"))
    with pytest.raises(NodeExitError, match=r"argument 'mode'; fix: pip install 'adlfs>=2026.4'") as refused:
        objects.create("abfs://runs@acme.dfs.core.windows.net/a", b"1")
    assert refused.value.code == 64


def test_objects_on_blob_storage_behave_as_on_disk(account: Storage) -> None:
    url = f"{account.url}/gpuyard/runs/a-1"
    check_objects(url)
    assert BlobStore(account.url).names("gpuyard/runs/a-1") == ["attempts"]
    assert claim_concurrently(url, "azureml", 6, at_once=4) == list(range(2, 8))


def test_data_of_a_container_is_copied_and_checked(account: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_data_copy(BlobStore(account.url), account.url, tmp_path, capsys)


def test_the_bootstrap_fetches_code_from_blob_storage(account: Storage, tmp_path: Path) -> None:
    path, data = launching_tarball()
    BlobStore(account.url).create(path, data)
    (tmp_path / "work").mkdir()
    done = bootstrap(tmp_path / "work", f"{account.url}/{path}", os.environ)
    assert done.stdout == f"launched in {tmp_path}/work/code with ['train.py']\n", done.stderr


def test_secrets_are_read_from_key_vault_with_the_nodes_identity(account: Storage) -> None:
    assert secrets.resolve({"A": NAME, "B": VERSION}) == {"A": SECRET, "B": "older"}
    wrong = {
        "A": NAME.replace("wandb", "gone"), "B": "https://acme.vault.azure.net/keys/wandb", "C": f"{NAME}?sig=x",
        "D": "https://acme.vault.azure.net.evil.io/secrets/wandb", "E": "https://acme.vault.azure.net@evil.io/secrets/wandb",
        "F": "https://evil.io/acme.vault.azure.net/secrets/wandb",
    }  # fmt: skip
    message = refusal_of_wrong_names(wrong, NAME, SECRET)
    for part in ("secrets.A", "HTTP 404", "secrets.B", "allowed: https://<vault>", "secrets.C", "secrets.D", "secrets.E", "secrets.F"):
        assert part in message
    assert "sig=x" not in message
    assert account.proxy.refused == []  # no token was sent to another host


def test_a_vault_that_is_down_is_a_temporary_error(account: Storage, vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.core.pipeline.policies.RetryPolicy.sleep", lambda *_, **__: None)
    vault.fail("get_secret", UNAVAILABLE, times=3)
    assert secrets.resolve({"A": NAME}) == {"A": SECRET}
    vault.fail("get_secret", UNAVAILABLE, times=100)
    with pytest.raises(NodeExitError, match="temporarily cannot be read") as refused:
        secrets.resolve({"A": NAME})
    assert refused.value.code == 74


def node(rank: int, nodes: int = 3, **more: str) -> dict[str, str]:
    """Return the variables that Azure ML sets on a node of a PyTorch job with one process per node."""
    return {
        "GPUYARD_SERVICE": "azureml", "AZUREML_NODE_COUNT": str(nodes), "NODE_RANK": str(rank), "WORLD_SIZE": str(nodes), "RANK": str(rank),
        "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "6105", **more,
    }  # fmt: skip


def test_placement_of_an_azureml_node() -> None:
    found = read_placement(node(2))
    assert found == NodePlacement(2, 3, "127.0.0.1", "127.0.0.1", 29400, found.interface)
    assert read_placement(node(1, GPUYARD_PORT="4000", GPUYARD_NODE_ADDRESS="127.0.0.9")).address == "127.0.0.9"
    assert read_placement({"GPUYARD_SERVICE": "azureml"}) == NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", 29400, None)
    assert topology.SERVICES["azureml"].cloud == "azure"
    for name, message in (("MASTER_ADDR", "did not set MASTER_ADDR"), ("NODE_RANK", "did not set NODE_RANK")):
        with pytest.raises(NodeExitError, match=message):
            read_placement({key: value for key, value in node(1).items() if key != name})
    with pytest.raises(NodeExitError, match="malformed"):
        read_placement(node(1, AZUREML_NODE_COUNT="many"))


def test_variables_that_count_nodes_do_not_reach_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in node(1).items():
        monkeypatch.setenv(name, value)
    job: Any = {
        "env": {"MASTER_PORT": "1"},
        "secrets": {},
        "data": {},
        "launcher": "none",
        "nproc_per_node": 2,
        "checkpoint": {"every_s": 1, "keep": 1},
        "fabric": None,
    }
    made = worker_environment(read_placement(node(1)), job, 1, "abfs://x", tmp_path / "stop", tmp_path / "report", tmp_path / "data")
    left = {name for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR") if name in made}
    assert left == set()
    assert (made["MASTER_PORT"], made["AZUREML_NODE_COUNT"], made["GPUYARD_NODE_RANK"]) == ("1", "3", "1")  # the job's own variable stays


STAMPED = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (.*)"
SAYS = """
import os, subprocess, sys
from gpuyard.training_jobs.launch.output import node_output
with node_output(stamp=sys.argv[1:] == ["stamp"]):
    print("out", flush=True)
    print("err", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-c", r"import os; os.write(1, b'bytes \\xff\\nno end')"], check=True)
print("after")
"""


def output(*argv: str) -> list[bytes]:
    done = subprocess.run([sys.executable, "-c", SAYS, *argv], cwd=CHECKOUT, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
    return done.stdout.split(b"\n")


def test_each_line_gets_a_time_only_with_stamp() -> None:
    found = [re.fullmatch(STAMPED.encode(), line) for line in output("stamp")]
    assert [match and match[1] for match in found] == [b"out", b"err", b"bytes \xff", b"no end", None, None]
    assert output() == [b"out", b"err", b"bytes \xff", b"no end", b"after", b""]
