"""`gpuyard plan` for any Pulumi program: text, Markdown and JSON output, exit codes, errors without a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.planning import render
from gpuyard.components.planning.document import Plan
from gpuyard.stacks.cli import main
from gpuyard.stacks.cli.plan import plan
from gpuyard.stacks.cli.pulumi_project import load_project
from gpuyard.training_jobs.errors import UsageError

ROOT = Path(__file__).resolve().parents[4]
PROJECT = """\
name: acme
runtime: python
config:
  size: {default: 3}
  acme:colour: {type: string, default: red}
  aws:region: {value: us-east-1}
"""
PROGRAM = """\
import os, pulumi, pulumi_aws as aws
print("to whom it may concern")
config = pulumi.Config()
assert config.require_int("size") == 3 and config.require("colour") == "blue"
assert pulumi.Config("acme").require_object("tags") == {"a": 1} and config.require_bool("on") is True
assert os.path.basename(os.getcwd()) == "infra"
import helper
aws.kms.Key(helper.NAME, description=config.require_secret("token"))
"""
STACK = """\
config:
  colour: blue
  acme:tags: {a: 1}
  acme:on: true
  acme:token: {secure: v1:abc:def}
"""

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gpuyard", "plan", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "infra").mkdir()
    (tmp_path / "Pulumi.yaml").write_text(PROJECT + "main: infra\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK)
    (tmp_path / "infra" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "infra" / "helper.py").write_text("NAME = 'key'\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _forget_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "helper", raising=False)


def test_a_program_of_your_own_has_waivers(cli: Cli, project: Path) -> None:
    program = "import pulumi_aws as aws\naws.ebs.Volume('v', availability_zone='us-east-1a', size=1)\n"
    (project / "infra" / "__main__.py").write_text(program)
    waiver = '{rule: encryption, urn: "*:Volume::v", reason: only temporary files, until: "2999-12-31"}'
    (project / "Pulumi.dev.yaml").write_text(f"config:\n  gpuyard:waivers: [{waiver}]\n")
    code, out, _ = cli("--stack", "dev", "-C", str(project))
    assert (code, "waived encryption until 2999-12-31: volume v" in out) == (0, True)
    bad = '[{rule: encyption, urn: "*", until: "31.3.2027"}]'
    (project / "Pulumi.dev.yaml").write_text(f"config:\n  gpuyard:waivers: {bad}\n")
    code, out, err = cli("--stack", "dev", "-C", str(project))
    assert (code, out) == (2, "")
    assert [line.partition(", ")[0] for line in err.splitlines()[1:]] == [
        "  - gpuyard:waivers.0.rule: wrong value",
        "  - gpuyard:waivers.0.reason: required key is missing; reason to accept the finding",
        "  - gpuyard:waivers.0.until: wrong value",
    ]
    (project / "Pulumi.dev.yaml").write_text("config:\n  gpuyard:waivers: none\n")
    assert "gpuyard:waivers: wrong value, got 'none', allowed: a list in YAML" in cli("--stack", "dev", "-C", str(project))[2]


def test_the_local_yard_costs_nothing(cli: Cli) -> None:
    code, out, _ = cli("--stack", "local", "-C", str(ROOT))
    assert code == 0
    assert "local  local   7 resources" in out
    assert "money  none: no resource here costs money" in out
    assert "policy  13 passed, 0 violated, 0 warnings" in out


def test_the_aws_stacks_have_plans(cli: Cli) -> None:
    code, out, _ = cli("--stack", "dev-aws", "-C", str(ROOT))
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("dev-aws  aws us-east-1  owner ml-platform@acme.io  expires 2027-03-31   ")
    assert [line.split()[:2] for line in lines[1:8]] == [
        ["Network", "net"],
        ["Bucket", "data"],
        ["Bucket", "runs"],
        ["GpuPool", "l4"],
        ["GpuPool", "l4-spot"],
        ["JobService", "train"],
        ["Budget", "budget"],
    ]
    assert any("2 x 4.6016 on demand" in line and "6,718" in line for line in lines)
    assert any("1 x spot: price unknown" in line and line.endswith("<=3,359") for line in lines)
    assert "            at most the on-demand price" in lines
    assert ", the rest pays >=104 h with every node on\n  WARN full month exceeds it" in out
    assert "  96 vCPU  Running On-Demand G and VT instances  L-DB2E81BA\n  48 vCPU  All G and VT Spot Instance Requests   L-3819A6DF" in out
    assert " 0 violated, " in out
    code, out, _ = cli("--stack", "prod-aws", "-C", str(ROOT))
    assert code == 0
    assert "8 x 39.8 capacity block, own rate" in out
    assert "  4 nodes  sagemaker: ml.p5.48xlarge for spot training job usage  (code not known)" in out


@pytest.mark.parametrize("stack", ["dev-aws", "prod-aws", "dev-gcp", "prod-gcp", "dev-azure", "prod-azure"])
def test_each_committed_stack_fits_a_terminal_and_marks_its_unknown_inputs(stack: str) -> None:
    made = plan(stack, ROOT)
    lines = render.text(made).splitlines()
    assert {line for line in lines if len(line) > 100} == set()
    assert not re.search(r"\w+:\w+/\w+:", "\n".join(lines))
    document = json.loads(made.model_dump_json(by_alias=True))
    assert len(document["resources"]) == len(made.resources) > 30
    marks = Counter(mark for resource in document["resources"] for mark in _marks(resource["inputs"]))
    assert marks["$unknown"] > 10
    assert set(marks) <= {"$unknown", "$secret"}
    assert "04da6b54-80e4-46f7-96ec-b56ff0331ba9" not in made.model_dump_json()  # Pulumi's own text for an unknown value


def _marks(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (key for key in value if key.startswith("$"))
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from _marks(entry)


def test_a_program_runs_as_pulumi_runs_it(cli: Cli, project: Path) -> None:
    before, path = Path.cwd(), list(sys.path)
    code, out, err = cli("--stack", "dev", "-C", str(project))
    assert (code, err) == (0, "to whom it may concern\n")
    assert out.splitlines()[0] == "dev  aws us-east-1   1 resource"
    assert "1 KMS key" in out
    assert "encrypted config: acme:token" in out
    assert (Path.cwd(), sys.path) == (before, path)


_OPEN_DISK = "import pulumi_aws as aws\naws.ebs.Volume('v', availability_zone='us-east-1a', size=1)\n"


def test_a_terminal_gets_the_same_lines_in_colour(cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "infra" / "__main__.py").write_text(_OPEN_DISK)
    plain = cli("--stack", "dev", "-C", str(project))[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    coloured = cli("--stack", "dev", "-C", str(project))[1]
    assert "\x1b[1;31m  VIOLATED encryption" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_stack_is_found_by_its_full_name(cli: Cli, project: Path) -> None:
    assert cli("--stack", "org/acme/dev", "-C", str(project / "infra"))[0] == 0


def test_stdout_holds_one_json_document(cli: Cli, project: Path) -> None:
    code, out, _ = cli("--stack", "dev", "-C", str(project), "--json")
    document = Plan.model_validate_json(out)
    assert code == 0
    assert json.loads(out)["schema"] == "gpuyard.plan/1"
    assert next(iter(json.loads(out))) == "schema"
    assert [resource.urn for resource in document.resources] == ["urn:pulumi:dev::acme::aws:kms/key:Key::key"]
    assert document.resources[0].inputs == {"description": {"$secret": True}}


def test_markdown(cli: Cli, project: Path) -> None:
    code, out, _ = cli("--stack", "dev", "-C", str(project), "--markdown")
    assert code == 0
    assert out.startswith("### gpuyard plan: dev, 1 resource, ok\n")


def test_a_violation_shows_the_plan_and_exits_2(cli: Cli, project: Path) -> None:
    (project / "infra" / "__main__.py").write_text(_OPEN_DISK)
    code, out, _ = cli("--stack", "dev", "-C", str(project))
    assert code == 2
    assert "VIOLATED encryption: volume v is not encrypted; set encrypted=True" in out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"infra/__main__.py": "import pulumi\nraise pulumi.RunError('pool a: 2 problems')"}, "error: pool a: 2 problems"),
        ({"infra/__main__.py": "import nowhere"}, "needs a package: No module named 'nowhere'"),
        (
            {"infra/__main__.py": "raise ModuleNotFoundError('No module named pulumi_gcp', name='pulumi_gcp.compute')"},
            "install the extra gpuyard[gcp] (in a checkout of gpuyard, `make venv` installs all of them)",
        ),
        ({"infra/__main__.py": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"infra/__main__.py": "import sys; sys.exit(3)"}, "exited with 3"),
        ({"infra/__main__.py": "import pulumi; pulumi.Config('acme').require('token')"}, "acme:token is encrypted"),
        ({"infra/__main__.py": "import pulumi_aws; pulumi_aws.get_region()"}, "call the function's `_output` variant"),
        ({"Pulumi.yaml": "name: acme\nruntime: nodejs"}, "got nodejs, allowed: python"),
        ({"Pulumi.yaml": "name: acme\nruntime: python\nmain: nowhere"}, "allowed: a file, or a folder with a __main__.py"),
        ({"Pulumi.yaml": "a: b: c"}, "is not valid YAML"),
        ({"Pulumi.yaml": "- a"}, "does not hold a mapping"),
        ({"Pulumi.dev.yaml": "config: {acme:until: 2027-03-31}"}, "config.acme:until: "),
        ({"Pulumi.dev.yaml": "config: {gpuyard:owner: {secure: abc}}"}, "gpuyard:owner: encrypted; write plain text"),
    ],
)
def test_a_failing_program_is_a_usage_error(cli: Cli, project: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (project / name).write_text(text)
    code, out, err = cli("--stack", "dev", "-C", str(project))
    assert (code, out) == (2, "")
    assert message in err
    assert "runpy" not in err


def test_a_misspelt_stack_and_no_project_are_usage_errors(cli: Cli, project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    code, _, err = cli("--stack", "dv", "-C", str(project))
    assert code == 2
    assert "got dv, allowed: dev; did you mean" in err
    code, _, err = cli("--stack", "dev", "-C", str(tmp_path_factory.mktemp("empty")))
    assert code == 2
    assert "no Pulumi.yaml in " in err
    code, _, err = cli("--stack", "dev", "--json", "--markdown")
    assert code == 2
    assert "exclude each other" in err


def test_the_schema_is_printed_without_loading_pulumi() -> None:
    code = (
        "import sys; sys.argv = ['gpuyard', 'schema', 'plan']\ntry:\n from gpuyard.stacks.cli import main; main()\n"
        "except SystemExit: pass\n"
        "assert not {'pulumi', 'grpc'} & set(sys.modules), 'loaded'"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    schema: dict[str, Any] = json.loads(done.stdout)
    assert "Plan" in schema["title"]
    assert {"money", "quota", "policy", "resources"} <= set(schema["properties"])


NOISY = """\
import atexit, os, subprocess, sys, threading
print("from print")
sys.stdout.flush()
os.write(1, b"from a descriptor\\n")
subprocess.run([sys.executable, "-c", "print('from a subprocess')"], check=True)
subprocess.run(["echo", "from a subprocess of stdout"], stdout=sys.stdout, check=True)
sys.stdout.buffer.write(b"from a buffer \\xff\\n")
sys.stderr.buffer.write(b"from a buffer of stderr\\n")
atexit.register(lambda: sys.stdout.write("from an exit handler\\n"))
threading.Thread(target=lambda: [os.write(1, b"from a thread\\n") for _ in iter(int, 1)], daemon=True).start()
"""


def test_output_of_the_program_does_not_spoil_the_document(project: Path) -> None:
    (project / "infra" / "__main__.py").write_text(NOISY)
    command = [sys.executable, "-c", "from gpuyard.stacks.cli import main; main()", "plan", "--stack", "dev", "-C", str(project), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "gpuyard.plan/1"
    printed = [line for line in done.stderr.splitlines() if line.startswith("from ")]
    assert [line for line in printed if line != "from a thread"] == [
        "from print",
        "from a descriptor",
        "from a subprocess",
        "from a subprocess of stdout",
        "from a buffer \\xff",
        "from a buffer of stderr",
        "from an exit handler",
    ]
    assert "from a thread" in printed


def test_files_named_yml_are_found_as_the_cli_finds_them(project: Path) -> None:
    (project / "Pulumi.yaml").rename(project / "Pulumi.yml")
    (project / "Pulumi.dev.yaml").rename(project / "Pulumi.dev.yml")
    loaded = load_project(project / "infra", "dev")
    assert (loaded.file.name, loaded.config["acme:colour"]) == ("Pulumi.dev.yml", "blue")
    with pytest.raises(UsageError, match=r"no Pulumi\.prod\.yml in"):
        load_project(project, "prod")


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("environment: [acme/dev, shared]\n", ["acme/dev", "shared"]),
        ("environment: acme/dev\n", ["acme/dev"]),
        (
            "environment:\n  imports: [acme/dev, {shared: {merge: false}}]\n  values: {a: 1}\n",
            ["acme/dev", "shared", "values in the stack file"],
        ),
    ],
)
def test_an_environment_is_unknown(project: Path, cli: Cli, section: str, names: list[str]) -> None:
    (project / "Pulumi.dev.yaml").write_text(section + STACK)
    (project / "infra" / "__main__.py").write_text("")
    code, out, _ = cli("--stack", "dev", "-C", str(project))
    assert code == 0
    assert f"ESC environments: {', '.join(names)}" in out
    (project / "infra" / "__main__.py").write_text("import pulumi\nraise pulumi.RunError('no region')\n")
    code, _, err = cli("--stack", "dev", "-C", str(project))
    assert (code, f"a plan cannot read the stack's environment ({', '.join(names)})" in err) == (2, True)


def test_numbers_that_only_the_pulumi_cli_reads_are_refused(project: Path, cli: Cli) -> None:
    numbers = {"091122223333": "91122223333", "1e3": "1000", "0o17": "15", "-0B11": "-3", "0X1F": "31", "09_1": "91", "1_e3": "1000"}
    (project / "Pulumi.dev.yaml").write_text("config:\n" + "".join(f"  acme:n{n}: [{text}]\n" for n, text in enumerate(numbers)))
    code, _, err = cli("--stack", "dev", "-C", str(project))
    assert code == 2
    for line, (text, number) in enumerate(numbers.items(), 2):
        assert f'the Pulumi CLI reads unquoted {text} as {number} (line {line}); quote it: "{text}"' in err


def test_text_that_is_no_number_of_the_pulumi_cli_passes(project: Path, cli: Cli) -> None:
    (project / "Pulumi.dev.yaml").write_text("config:\n  acme:n: [0o8, 0b2, _1, '0o17', 1.2.3, 1e]\n")
    (project / "infra" / "__main__.py").write_text("")
    assert cli("--stack", "dev", "-C", str(project))[0] == 0


def test_a_number_that_both_read_otherwise_is_one_problem(project: Path, cli: Cli) -> None:
    (project / "Pulumi.dev.yaml").write_text("config:\n  acme:owner: 017\n")
    code, _, err = cli("--stack", "dev", "-C", str(project))
    assert (code, "YAML reads unquoted 017 as 15" in err, "the Pulumi CLI" in err) == (2, True, False)


def test_a_program_that_ends_the_process_prints_no_nonce(project: Path, cli: Cli) -> None:
    command = [sys.executable, "-c", "from gpuyard.stacks.cli import main; main()", "plan", "--stack", "dev", "-C", str(project)]
    (project / "infra" / "__main__.py").write_text("import os, sys\nprint('nonce', *sys.argv[1:], 'ok', flush=True)\nos._exit(0)\n")
    done = subprocess.run([*command, "--nonce", "8f3a"], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), "exit 0 alone is no proof; the nonce is missing"
    (project / "infra" / "__main__.py").write_text("")
    for form in ((), ("--json",), ("--markdown",)):
        code, out, _ = cli("--stack", "dev", "-C", str(project), "--nonce", "8f3a", *form)
        assert code == 0
        assert "8f3a" in out


def test_the_key_on_is_text_as_the_pulumi_cli_reads_it(project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text("config:\n  acme:notify: {email: [ml@acme.io], on: [failed]}\n")
    assert json.loads(load_project(project, "dev").config["acme:notify"]) == {"email": ["ml@acme.io"], "on": ["failed"]}
