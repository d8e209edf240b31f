"""The training images' Dockerfiles, checked as text, because the tests need no container engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpuyard.training_jobs.backends.azureml import request as azureml
from gpuyard.training_jobs.launch import gib

IMAGES = Path(__file__).resolve().parents[3] / "images"
FOLDER = IMAGES / "aws"
FOLDERS = pytest.mark.parametrize("folder", [FOLDER, IMAGES / "gcp", IMAGES / "azure"], ids=lambda folder: folder.name)

Step = tuple[str, str]


def steps(text: str) -> list[Step]:
    """(instruction, what follows) of each, comments left out and lines joined."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", plain)
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(words[0].upper(), words[1] if len(words) > 1 else "") for words in found]


def faults(text: str, files: frozenset[str] = frozenset({"requirements.lock"})) -> set[str]:
    """Return the lines that make an image untrusted or different at each build."""
    found: set[str] = set()
    arguments: dict[str, str] = {}
    user = "root"
    for instruction, rest in steps(text):
        value = re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], ""), rest)
        if instruction == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif instruction == "FROM" and not re.search(r"@sha256:[0-9a-f]{64}( AS \w+)?$", value):
            found.add("base without a digest")
        elif instruction == "USER":
            user = value
        elif instruction == "ADD":
            found.add("ADD fetches and unpacks: use COPY")
        elif instruction == "COPY" and not value.startswith("--from=") and not set(value.split()[:-1]) <= files:
            found.add("copies what is not in the folder")
        elif instruction == "RUN":
            found |= _run_faults(value)
        if instruction in {"ARG", "ENV"} and re.search(r"(?i)(secret|token|password|access_key)", rest):
            found.add("a secret would stay in the image")
    instructions = dict(steps(text))
    if user.split(":")[0] in {"", "root", "0"}:
        found.add("runs as root")
    if instructions.get("HEALTHCHECK") != "NONE":
        found.add("a health check that no service asks for")
    if instructions.get("ENTRYPOINT") != "[]":
        found.add("an entry point before the service's command")
    return found


def _run_faults(command: str) -> set[str]:
    found = set()
    if re.search(r"(curl|wget)[^|&]*\|\s*(ba|da)?sh\b", command):
        found.add("runs what it downloads unseen")
    if re.search(r"\b(curl|wget) ", command) and "install" not in command.split("curl")[0] and "sha256sum --check" not in command:
        found.add("a download without a checksum")
    if re.search(r"pip3? install", command) and "--require-hashes" not in command:
        found.add("packages without hashes")
    if re.search(r"\b(sudo|chmod 777)\b", command):
        found.add("more rights than needed")
    return found


@FOLDERS
def test_the_dockerfile_has_no_known_fault(folder: Path) -> None:
    assert faults((folder / "Dockerfile").read_text()) == set()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("@sha256:2ab6", " #", "base without a digest"),
        ("USER ${UID}\n", "", "runs as root"),
        ("ARG UID=1000", "ARG UID=0", "runs as root"),
        (' \\\n    && echo "${EFA_SHA256}  efa.tar.gz" | sha256sum --check --strict', "", "a download without a checksum"),
        ("--output efa.tar.gz", "| bash", "runs what it downloads unseen"),
        ("--require-hashes ", "", "packages without hashes"),
        ("COPY requirements.lock", "ADD https://x.example/r.txt", "ADD fetches and unpacks: use COPY"),
        ("COPY requirements.lock", "COPY ../../.aws", "copies what is not in the folder"),
        ("ARG UID=1000", "ARG UID=1000\nARG WANDB_TOKEN=x", "a secret would stay in the image"),
        ("ENTRYPOINT []\n", "", "an entry point before the service's command"),
        ("HEALTHCHECK NONE\n", "", "a health check that no service asks for"),
    ],
)
def test_each_fault_is_found(old: str, new: str, fault: str) -> None:
    text = (FOLDER / "Dockerfile").read_text()
    assert old in text
    assert fault in faults(text.replace(old, new))


@FOLDERS
def test_the_lock_has_hashes_and_no_package_of_gpuyard(folder: Path) -> None:
    wanted = {line.split("#")[0].strip() for line in (folder / "requirements.in").read_text().splitlines()} - {""}
    lock = (folder / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    assert wanted <= set(pinned)
    assert not {"gpuyard", "pulumi", "moto"} & set(pinned)
    assert len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)) >= len(pinned)
    own = (IMAGES.parent / "requirements-dev.lock").read_text()  # what is tested is what runs
    for name in {"torch", "s3fs", "gcsfs", "adlfs", "azure-identity", "fsspec", "safetensors"} & set(pinned):
        assert f"\n{name}=={pinned[name]} " in own, name


def test_the_image_for_gcp_has_the_plugin_that_launch_reads() -> None:
    text = (IMAGES / "gcp" / "Dockerfile").read_text()
    assert f"test -f {gib.SCRIPT}" in text
    assert "COPY --from=gib" in text


def test_the_image_for_azure_has_the_topologies_that_jobs_name() -> None:
    text = (IMAGES / "azure" / "Dockerfile").read_text()
    assert "WORKDIR /opt/microsoft\n" in text
    assert all(f"{name}-topo.xml\\n" in text for name in set(azureml._TOPOLOGY.values()))
    assert azureml._fabric_variables("Standard_NC24ads_A100_v4") == {}
