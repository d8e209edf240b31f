"""Runs Checkov once over all plans and templates, because its start takes most of its ten seconds."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.security import scanner

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Verdict:
    """The result of one plan or template: resource address -> ids of the failed and of the passed checks."""

    failed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    passed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def judge(folder: Path, plans: Mapping[str, Any]) -> dict[str, Verdict]:
    """Return Checkov's verdict on each plan or template, by name. `folder` must be empty."""
    executable = scanner.ensure(CHECKOUT, lambda _: None)
    for name, plan in plans.items():
        (folder / f"{name}.json").write_text(json.dumps(plan), encoding="utf-8")
    files = [word for name in plans for word in ("-f", str(folder / f"{name}.json"))]
    argv = [str(executable), *files, "--framework", "terraform_plan", "arm", "--skip-download", "--compact", "-o", "json"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LOG_LEVEL": "ERROR"}
    ran = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), ran.stderr
    report = json.loads(ran.stdout)
    verdicts = {name: Verdict() for name in plans}
    reports = report if isinstance(report, list) else [report]
    for each in reports:
        assert not each["results"]["parsing_errors"], each["results"]["parsing_errors"]
        for word in ("failed", "passed"):
            for check in each["results"][f"{word}_checks"]:
                verdict = verdicts[Path(check["file_path"]).stem]
                getattr(verdict, word)[check["resource"]].add(check["check_id"])
    return verdicts
