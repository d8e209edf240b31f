"""The progress record: it follows the hook's reports, and a failed write does not stop the job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch.progress import ProgressWriter


def test_progress_takes_over_reports_and_restarts(tmp_path: Path) -> None:
    report, url = tmp_path / "report.json", tmp_path.as_uri()
    progress = ProgressWriter(url, 4, report)
    progress.set_phase("setup")

    def written() -> dict[str, object]:
        document: dict[str, object] = json.loads((tmp_path / "progress.json").read_text())
        return document

    assert (written()["phase"], written()["attempt"], written()["step"]) == ("setup", 4, None)
    report.write_text(json.dumps({"step": 9, "metrics": {"loss": 2.0}, "at": None}))  # from the previous attempt
    progress.update("running", 0)
    assert (written()["phase"], written()["step"], written()["first_step_at"]) == ("running", None, None)
    report.write_text(json.dumps({"step": 3, "metrics": {"loss": 1.0, "steps": 8}, "at": 100.0}))
    progress.update("recovering", 1)
    assert (written()["phase"], written()["restarts"], written()["step"], written()["steps"]) == ("recovering", 1, 3, 8)
    assert written()["first_step"] == 3
    report.write_text(json.dumps({"step": 2, "metrics": {"loss": 1.5, "steps": 8}, "at": 99.0, "restart": "1"}))
    progress.update("recovering", 1)
    assert (written()["phase"], written()["step"], written()["metrics"]) == ("running", 2, {"loss": 1.5})
    assert (written()["first_step"], written()["first_step_at"]) == (3, "1970-01-01T00:01:40.000Z")


def test_progress_that_cannot_be_written_is_only_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "output").write_text("in the way")
    ProgressWriter((tmp_path / "output").as_uri(), 1, tmp_path / "none").set_phase("running")
    assert "cannot write" in capsys.readouterr().out


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        _make_fifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_text('{"metrics": 5, "at": 1, "step": 1}'),
        lambda path: path.write_text('{"metrics": {}, "at": "late", "step": 1}'),
        lambda path: path.write_text('{"metrics": {}, "at": 1e300, "step": 1}'),
        lambda path: path.write_text('{"metrics": {}, "at": 1, "restart": "x"}'),
    ],
    ids=["FIFO", "endless", "deep", "metrics", "text", "year", "restart"],
)
def test_a_report_that_is_none_is_ignored(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "report.json")
    writer = ProgressWriter(tmp_path.as_uri(), 1, tmp_path / "report.json")
    writer.update("running", 0)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] is None


def test_blob_storage_gets_fewer_than_1000_versions_of_the_document_a_day(tmp_path: Path) -> None:
    """learn.microsoft.com/azure/storage/blobs/versioning-overview recommends fewer than 1,000 versions; they are kept for a day."""
    writer = ProgressWriter("abfs://runs@acme.dfs.core.windows.net/a", 1, tmp_path / "report")
    assert 86_400 / writer._every_s < 1000
