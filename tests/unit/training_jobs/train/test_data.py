"""Training data: the sample order as a function of the step, shards that match their index, and how data folders are made."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from gpuyard.training_jobs.launch.storage import StorageUnreachableError
from gpuyard.training_jobs.train import prepare
from gpuyard.training_jobs.train.config import Config, ConfigError
from gpuyard.training_jobs.train.data import ImageBatches, InMemorySplit, TokenWindows, assign_split, load
from gpuyard.training_jobs.train.sampling import SampleOrder, permute, rank_slice
from gpuyard.training_jobs.train.shards import DataError, Shards, read_index


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_shuffling_is_a_permutation(size: int) -> None:
    once, again, other = (permute(np.arange(size), size, key) for key in (5, 5, 6))
    assert sorted(once) == list(range(size))
    assert np.array_equal(once, again)
    assert size < 64 or not np.array_equal(once, other)


def test_an_epoch_visits_each_sample_once() -> None:
    order = SampleOrder([10, 3, 0, 7], seed=1)
    first_epoch = [place for step in range(5) for place in order.batch(step, 4)]
    assert sorted(place[1:] for place in first_epoch) == sorted((shard, n) for shard, size in enumerate([10, 3, 0, 7]) for n in range(size))
    following = [place for step in range(5, 10) for place in order.batch(step, 4)]
    assert {place[0] for place in following} == {1}
    assert [place[1:] for place in first_epoch] != [place[1:] for place in following]
    assert order.batch(3, 4) == SampleOrder([10, 3, 0, 7], seed=1).batch(3, 4)


def test_the_ranks_share_a_batch_of_any_size() -> None:
    for size, world in ((6, 4), (3, 4), (8, 2)):
        parts = [rank_slice(size, rank, world) for rank in range(world)]
        assert [n for first, last in parts for n in range(first, last)] == list(range(size))


def test_windows_are_the_same_for_any_world() -> None:
    windows = TokenWindows(InMemorySplit([np.arange(500, dtype=np.uint16), np.arange(500, 800, dtype=np.uint16)]), 16, seed=0)
    whole = windows.batch(3, 8, 0, 8)
    assert np.array_equal(np.concatenate([windows.batch(3, 8, 0, 3), windows.batch(3, 8, 3, 8)]), whole)
    assert np.array_equal(np.diff(whole, axis=1), np.ones((8, 16)))
    every = np.concatenate([windows.part(*rank_slice(windows.count, rank, 3)) for rank in range(3)])
    assert len(every) == windows.count == (499 // 16) + (299 // 16)
    assert np.array_equal(every[:, 0], [*range(0, 499 - 16, 16), *range(500, 799 - 16, 16)])
    with pytest.raises(ConfigError, match="context: got 400, but every shard is shorter than two windows; lower context"):
        TokenWindows(InMemorySplit([np.arange(500)]), 400, 0)


def _text(folder: Path, **more: Any) -> str:
    source = folder / "docs"
    source.mkdir(parents=True)
    for number in range(60):
        (source / f"{number}.txt").write_text(f"document {number} " * 30)
    words = [str(source), f"out={(folder / 'data').as_uri()}", "held_out=0.2", *(f"{key}={value}" for key, value in more.items())]
    assert prepare.main(words) == 0
    return (folder / "data").as_uri()


def test_text_becomes_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = _text(tmp_path)
    index = read_index(url)
    assert (index.kind, index.dtype, index.vocab, index.bytes_per_token) == ("tokens", "|u1", 256, 1.0)
    monkeypatch.setenv("GPUYARD_DATA_MY_DOCS", url)
    data = load(Config(data="my-docs", context=16))
    assert data.train is not None
    assert data.validation is not None
    assert sum(data.train.sizes) > sum(data.validation.sizes) > 0
    text = data.train[0].tobytes() + data.validation[0].tobytes()
    assert sorted(text.split(b"\0"))[1] == sorted(path.read_bytes() for path in (tmp_path / "docs").iterdir())[0]
    for document in data.validation[0].tobytes().split(b"\0")[:-1]:
        assert assign_split(document, 0.2) == "val"
    with pytest.raises(ConfigError, match="vocab: got 100, but file"):
        load(Config(data=url, vocab=100))
    with pytest.raises(ConfigError, match="which has tokens; task=resnet needs images"):
        load(Config(data=url, task="resnet"))


def test_jsonl_becomes_shards_and_an_invalid_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "x.jsonl"
    lines.write_text("".join(json.dumps({"body": f"line {number} " * 9}) + "\n" for number in range(80)))
    assert prepare.main([str(lines), f"out={(tmp_path / 'out').as_uri()}", "kind=jsonl", "field=body", "shard_mib=1"]) == 0
    assert prepare.main([str(lines), f"out={(tmp_path / 'out').as_uri()}", "kind=jsonl"]) == 64
    assert re.search(r"x.jsonl line \d+: not a JSON object with the key 'text'", capsys.readouterr().err)
    assert prepare.main([str(lines), "out=file:///x", "knd=jsonl"]) == 64
    assert "did you mean kind=?" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    url = _text(tmp_path)
    shard = tmp_path / "data/train-00000.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] if damage == "cut" else whole[:-1] + b"?")
    if damage == "gone":
        shard.unlink()
    data = load(Config(data=url))
    says = {
        "cut": f"{len(whole) - 1} bytes, the index says {len(whole)}",
        "flipped": "sha256 .*, the index says",
        "gone": "it does not exist",
    }
    assert data.train is not None
    with pytest.raises(DataError, match=f"train-00000.bin is damaged: {says[damage]}"):
        data.train[0]


def _remote(tmp_path: Path, name: str) -> tuple[str, Any]:
    """Copy the shards into an in-memory object store."""
    _text(tmp_path)
    fs = fsspec.filesystem("memory")
    for path in (tmp_path / "data").iterdir():
        fs.pipe_file(f"/{name}/{path.name}", path.read_bytes())
    return f"memory://{name}", fs


def test_a_remote_shard_is_fetched_once_and_again_when_the_copy_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, fs = _remote(tmp_path, "far-1")
    fetched = []
    real = type(fs).get_file

    def counted(self: Any, path: str, to: str, **more: Any) -> None:
        fetched.append(path)
        real(self, path, to, **more)

    monkeypatch.setattr(type(fs), "get_file", counted)
    cache = tmp_path / "cache"
    for _ in range(2):
        shards = Shards(url, read_index(url), "train", cache, 1.0)
        assert shards[0].tobytes() == (tmp_path / "data/train-00000.bin").read_bytes()
    assert len(fetched) == 1
    (kept,) = cache.glob("*.bin")
    kept.write_bytes(b"rot" + kept.read_bytes()[3:])
    assert Shards(url, read_index(url), "train", cache, 1.0)[0].tobytes() == (tmp_path / "data/train-00000.bin").read_bytes()
    assert len(fetched) == 2


def test_a_truncated_transfer_is_retried_once_then_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, fs = _remote(tmp_path, "far-2")
    real = type(fs).get_file
    cuts = [True, False]

    def cut(self: Any, path: str, to: str, **more: Any) -> None:
        real(self, path, to, **more)
        if cuts.pop(0):
            Path(to).write_bytes(Path(to).read_bytes()[:-5])

    monkeypatch.setattr(type(fs), "get_file", cut)
    index = read_index(url)
    assert len(Shards(url, index, "train", tmp_path / "cache", 1.0)[0]) == index.splits["train"][0]["count"]
    cuts[:] = [True, True]
    with pytest.raises(DataError, match=r"damaged, fetched twice: .* bytes, the index says"):
        Shards(url, index, "val", tmp_path / "cache", 1.0)[0]


def test_a_shard_of_unreachable_storage_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends with 74 is retried, one with damaged data never."""
    url, fs = _remote(tmp_path, "far-4")
    shards = Shards(url, read_index(url), "train", tmp_path / "cache", 1.0)

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the store")

    monkeypatch.setattr("gpuyard.training_jobs.launch.storage._PAUSES_S", ())
    monkeypatch.setattr(type(fs), "get_file", fail)
    with pytest.raises(StorageUnreachableError, match="no route to the store"):
        shards[0]


def test_a_url_that_fsspec_cannot_open_is_named() -> None:
    with pytest.raises(ConfigError, match="s4://bucket/tokens cannot be opened: Protocol not known: s4"):
        load(Config(data="s4://bucket/tokens"))


def test_the_cache_has_a_size_limit(tmp_path: Path) -> None:
    url, _ = _remote(tmp_path, "far-3")
    for split in ("train", "val"):
        Shards(url, read_index(url), split, tmp_path / "cache", 1e-9)[0]
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 1


def test_a_folder_without_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data: got file:.*, whose index.json cannot be read .*; fix: make it with `python -m"):
        load(Config(data=tmp_path.as_uri()))


def test_images_become_shards(tmp_path: Path) -> None:
    pillow = importlib.import_module("PIL.Image")
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(20):
            pillow.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8)).save(tmp_path / "in" / label / f"{number}.png")
    out = (tmp_path / "out").as_uri()
    assert prepare.main([str(tmp_path / "in"), f"out={out}", "kind=images", "size=8", "held_out=0.3"]) == 0
    index = read_index(out)
    assert (index.classes, index.shape, index.vocab) == (["cat", "dog"], [8, 8, 3], 2)
    assert all(90 < mean < 165 for mean in index.mean)
    data = load(Config(data=out, task="resnet", vocab=2))
    assert data.train is not None
    still, moved = ImageBatches(data.train, 0, 0), ImageBatches(data.train, 0, 2)
    assert still.batch(0, 6, 0, 6)[0].shape == (6, 8, 8, 3)
    assert np.array_equal(np.concatenate([moved.batch(1, 6, 0, 2)[0], moved.batch(1, 6, 2, 6)[0]]), moved.batch(1, 6, 0, 6)[0])
    assert not np.array_equal(still.batch(1, 6, 0, 6)[0], moved.batch(1, 6, 0, 6)[0])


def test_prepare_mixes_sources_in_an_order_that_the_seed_decides(tmp_path: Path) -> None:
    for source in "ab":
        (tmp_path / f"{source}.jsonl").write_text("".join(json.dumps({"text": source * 9 + str(number)}) + "\n" for number in range(40)))
    read = {}
    for run, seed in enumerate((0, 0, 1)):
        settings = prepare.Settings(out=(tmp_path / f"out-{run}").as_uri(), kind="jsonl", seed=seed, held_out=0.2)
        prepare.prepare([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], settings)
        read[run] = (tmp_path / f"out-{run}/train-00000.bin").read_bytes()
    assert read[0] == read[1] != read[2]
    assert sorted(read[0].split(b"\0")) == sorted(read[2].split(b"\0"))
    first_half = read[0][: len(read[0]) // 2]
    assert 0.25 < first_half.count(b"a") / (first_half.count(b"a") + first_half.count(b"b")) < 0.75
