"""Copies of data on a node's disk, from a folder. test_launch_s3, _gcs and _azure copy from buckets."""

from __future__ import annotations

import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpuyard.training_jobs.launch import data_copy, data_objects
from gpuyard.training_jobs.launch.data_copy import copied_path, copy_data
from gpuyard.training_jobs.launch.data_objects import Digest, find_objects
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import data_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "da ta"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.bin").write_bytes(b"a" * 5000)
    (folder / "link").symlink_to(folder / "deep/a.bin")
    (folder / "broken").symlink_to(tmp_path / "none")
    return folder


def test_a_folder_and_a_file_are_copied_to_the_paths_that_the_variables_name(source: Path, tmp_path: Path) -> None:
    entries = {"all": source.as_uri(), "one": (source / "deep/a.bin").as_uri()}
    copy_data(entries, tmp_path / "copies")
    one, everything = (copied_path(tmp_path / "copies", name, entries[name]) for name in ("one", "all"))
    assert one.read_bytes() == b"a" * 5000
    assert sorted(path.relative_to(everything).as_posix() for path in everything.rglob("*") if path.is_file()) == ["deep/a.bin", "link"]
    assert not (everything / "link").is_symlink()
    copy_data({"one": entries["one"]}, tmp_path / "copies")
    assert not everything.exists(), "an interrupted copy was left"


@pytest.mark.parametrize(
    ("service", "folder"), [("sagemaker", "/tmp/gpuyard-data"), ("batch", "/w/.state/data"), ("slurm", "/w/.state/data")]
)
def test_copies_lie_on_the_services_large_disk(service: str, folder: str) -> None:
    assert data_folder({"GPUYARD_SERVICE": service}, Path("/w/.state")) == Path(folder)


def test_a_torn_copy_is_repeated_once(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Path] = []

    def torn(origin: Path, target: Path) -> None:
        copies.append(target)
        target.write_bytes(origin.read_bytes() if len(copies) > 1 else b"b" * 5000)

    monkeypatch.setattr(shutil, "copyfile", torn)
    copy_data({"one": (source / "deep/a.bin").as_uri()}, tmp_path / "copies")
    assert len(copies) == 2


def test_data_that_does_not_fit_is_refused_before_it_is_copied(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9_000_000, 8_998_900, 1_100))
    with pytest.raises(NodeExitError, match=r"data: too large for this node's disk, got 0\.0 MB, .*; raise disk_gib") as refused:
        copy_data({"all": source.as_uri()}, tmp_path / "copies")
    assert refused.value.code == 64
    assert list((tmp_path / "copies").iterdir()) == []


@pytest.mark.parametrize(
    ("metadata", "info", "digest"),
    [
        ({"gpuyard-sha256": "ab"}, {"md5Hash": "AQI="}, Digest("sha256", "ab")),
        ({"gpuyardsha256": "ab"}, {}, Digest("sha256", "ab")),
        ({"other": "x"}, {"md5Hash": "AQI="}, Digest("md5", "0102")),
        ({}, {"content_settings": SimpleNamespace(content_md5=bytearray(b"\x01\x02"))}, Digest("md5", "0102")),
        ({}, {"content_settings": SimpleNamespace(content_md5=None)}, None),
        ({}, {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}, None),
    ],
    ids=["upload", "azure-upload", "gcs", "azure", "azure-none", "s3"],
)
def test_the_best_digest_of_an_object_is_used(metadata: dict[str, str], info: dict[str, object], digest: Digest | None) -> None:
    assert data_objects._digest(metadata, info) == digest


@pytest.mark.parametrize("names", [["a", "a/b"], ["../b"], ["a//b"], ["/b"], ["a\0"], ["x" * 256], [".."], ["", "b"]])
def test_an_object_that_can_be_no_file_is_refused(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [data_objects._RemoteObject("s3://b/d", f"b/d/{name}", name, 1, {}) for name in names]
    monkeypatch.setattr(data_objects, "_remote_objects", lambda _: found)
    with pytest.raises(NodeExitError, match=r"data\.x: an object that cannot be a file, got .*s3://b/d"):
        find_objects("x", "s3://b/d")


def test_the_program_exits_with_the_code_of_its_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    monkeypatch.setattr(sys, "argv", ["data_copy", str(plan)])
    for url, code, message in (
        (source.as_uri(), 0, ""),
        ((tmp_path / "none").as_uri(), 64, "gpuyard: data.x: nothing is there"),
        ("nosuch://b/x", 64, "cannot reach nosuch://b/x"),
    ):
        plan.write_text(json.dumps({"folder": str(tmp_path / "copies"), "entries": {"x": url}}))
        assert data_copy.main() == code
        assert message in capsys.readouterr().err
    (tmp_path / "copies").write_text("in the way")
    plan.write_text(json.dumps({"folder": str(tmp_path / "copies"), "entries": {"x": source.as_uri()}}))
    assert data_copy.main() == 74
    assert "gpuyard: data: cannot be copied: " in capsys.readouterr().err
