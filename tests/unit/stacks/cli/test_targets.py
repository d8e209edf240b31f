"""Where job targets may come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuyard.stacks.cli import targets
from gpuyard.training_jobs.errors import UsageError
from tests.helpers.local_pool import target_document


@pytest.mark.parametrize("url", ["s3://b/t.json", "gs://b/t.json", "abfs://c@a.dfs/t.json", "https://x.example/t.json", "memory://t"])
def test_a_local_pool_from_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(targets, "_read", lambda location: json.dumps({"mine": target_document(tmp_path)}))
    with pytest.raises(UsageError, match="mine: a local pool cannot come from a URL"):
        targets.find_targets(None, url)


def test_a_local_pool_from_a_file_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text(json.dumps({"local": target_document(tmp_path)}))
    for location in (str(file), file.as_uri()):
        assert list(targets.find_targets(None, location)[0]) == ["local"]
