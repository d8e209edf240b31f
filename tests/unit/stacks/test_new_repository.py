"""`gpuyard init`: the repository that it writes has a plan, a valid job and the pipeline of the examples."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.stacks.cli import main
from gpuyard.stacks.cli.plan import plan
from gpuyard.stacks.new_repository import CLOUDS, Source, project_name, repository_files
from gpuyard.training_jobs.spec import load_job

ROOT = Path(__file__).resolve().parents[3]
TODAY = datetime.date(2026, 12, 1)
SOURCE = Source("https://git.acme.io/gpuyard", "4a86a052" * 5)
RECIPES = {"aws": "github-nightly.yml", "gcp": "github-nightly-gcp.yml", "azure": "github-nightly-azure.yml"}


def write(folder: Path, cloud: str) -> Path:
    for path, text in repository_files(cloud, "nlp-yard", "ml@acme.io", TODAY, SOURCE).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_it_writes_has_a_plan_without_violations(cloud: str, tmp_path: Path) -> None:
    found = plan("dev", write(tmp_path, cloud))
    assert found.problems == []
    assert [rule.rule for rule in found.policy if rule.outcome == "violated"] == []
    assert {branch.name for branch in found.tree if branch.kind == "GpuPool"} == {{"local": "gpus", "azure": "h100"}.get(cloud, "l4")}


def _own(recipe: str) -> str:
    own = recipe.replace(" Copy it to .github/workflows/.", "").replace("https://github.com/acme/gpuyard", SOURCE.repository)
    return own.replace("0" * 40, SOURCE.commit)


@pytest.mark.parametrize("cloud", RECIPES)
def test_its_readme_names_every_placeholder(cloud: str) -> None:
    files = repository_files(cloud, "nlp-yard", "ml@acme.io", TODAY, Source())
    assert "requirements.txt" in files["README.md"]
    variables = ("AWS_ROLE_ARN", "GPUYARD_TARGETS", "PROVIDER", "SUBMITTER", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "your-project")
    written = files[".github/workflows/nightly.yml"] + files["Pulumi.dev.yaml"]
    for name in variables:
        assert (f"`{name}`" in files["README.md"]) == (f"{name}: " in written or f": {name}" in written), name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_its_job_is_valid_and_its_script_and_pipeline_are_those_of_the_examples(cloud: str, tmp_path: Path) -> None:
    spec, base = load_job(write(tmp_path, cloud) / "nightly.yaml")
    assert (spec.name, spec.nodes, (base / str(spec.code) / spec.command[0]).is_file()) == ("nightly", 2, True)
    assert (tmp_path / "train/train.py").read_text() == (ROOT / "examples/own-script/train.py").read_text().replace(
        "gpuyard submit job.yaml", "gpuyard submit nightly.yaml"
    )
    workflow = tmp_path / ".github/workflows/nightly.yml"
    assert (workflow.read_text() if workflow.exists() else None) == (
        _own((ROOT / "examples/pipelines" / RECIPES[cloud]).read_text()) if cloud in RECIPES else None
    ), "copy the example to stacks/templates"
    assert f"@ git+https://git.acme.io/gpuyard@{SOURCE.commit} " in (tmp_path / "requirements.txt").read_text()
    assert "$" not in (tmp_path / "Pulumi.dev.yaml").read_text()
    assert "2027-03-01" in (tmp_path / "Pulumi.dev.yaml").read_text() or cloud == "local"


@given(st.text(max_size=30))
def test_every_folder_gives_a_project_name(folder: str) -> None:
    name = project_name(folder)
    assert name[0].isalpha()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name not in {"gpuyard", "aws", "true"}
    assert len(name) <= 63


def test_nothing_is_overwritten_and_every_file_that_exists_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["gpuyard", "init", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    folder = tmp_path / "NLP yard"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    (folder / ".gitignore").symlink_to("nowhere")
    code, _, told = run(str(folder), "--cloud", "aws")
    assert code == 2
    assert f"{folder}/.gitignore: exists already" in told
    assert f"{folder}/README.md: exists already; remove it, or choose another folder" in told
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", "README.md"]
    assert (folder / "README.md").read_text() == "mine"

    code, out, _ = run(str(tmp_path / "new"), "--cloud", "gcp", "--json")
    assert code in (0, None)
    document = json.loads(out)
    assert document["schema"] == "gpuyard.init/1"
    assert all((tmp_path / "new" / path).is_file() for path in document["files"])
    assert run(str(tmp_path / "other"), "--cloud", "mars")[0] == 2
    assert "--owner: not a mail address, got a: b" in run(str(tmp_path / "other"), "--owner", "a: b")[2]
    (tmp_path / "file").write_text("")
    code, _, told = run(str(tmp_path / "file" / "yard"))
    assert (code, "Traceback" in told) == (2, False)
