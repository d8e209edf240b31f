"""The trainer's parts: settings, corpus, model, and checkpoints that survive what may happen to them."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training_jobs.train import corpus
from training_jobs.train.checkpoint import Checkpoints, Commit, SupersededError
from training_jobs.train.config import Config, ConfigError, parse
from training_jobs.train.model import Gpt

STATE = {"model/w": torch.arange(4.0), "optimizer/0/step": torch.tensor(3.0)}


def test_settings_from_words() -> None:
    assert parse(["steps=20", "lr=1e-3", "out=file:///x"], 4) == Config(steps=20, lr=1e-3, out="file:///x")


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(["stpes=20", "lr=fast", "batch=6", "--width", "heads=5"], 4)
    text = str(refused.value)
    for says in ("did you mean steps=?", "lr: got 'fast', wants a number", "multiple of the 4 ranks", "'--width'", "multiple of 2 x heads"):
        assert says in text
    with pytest.raises(ConfigError, match="layers: got 0, must be at least 1"):
        parse(["layers=0"], 1)


def test_the_corpus_is_the_same_every_time_and_its_sides_are_apart() -> None:
    one, two = (corpus.load(300_000, 4096) for _ in range(2))
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.validation, two.validation)
    assert (len(one.validation), len(one.train)) == (4096, 300_000)
    assert one.validation[:200].tobytes() not in one.train.tobytes()
    with pytest.raises(ConfigError, match="val_bytes: got 1000000000, but all the text below"):
        corpus.load(1, 10**9)


def test_the_bigram_entropy_is_what_it_says() -> None:
    assert corpus.bigram_entropy(np.frombuffer(b"abcabcabcabc", np.uint8)) == 0.0
    coin = np.random.default_rng(0).integers(0, 2, 100_000).astype(np.uint8)
    assert math.isclose(corpus.bigram_entropy(coin), math.log(2), rel_tol=1e-3)


def test_batches_depend_on_seed_and_step_alone() -> None:
    data = np.arange(1000, dtype=np.uint8)
    first = corpus.batch(data, 0, 7, 8, 16)
    assert first.shape == (8, 17)
    assert np.array_equal(first, corpus.batch(data, 0, 7, 8, 16))
    assert not np.array_equal(first, corpus.batch(data, 0, 8, 8, 16))
    assert not np.array_equal(first, corpus.batch(data, 1, 7, 8, 16))
    assert np.array_equal(np.diff(first[0]) % 256, np.ones(16))


def test_the_ranks_share_all_windows_of_the_validation_text() -> None:
    data = np.arange(101, dtype=np.uint8)
    starts = np.concatenate([corpus.windows(data, 10, rank, 3)[:, 0] for rank in range(3)])
    assert sorted(starts) == list(range(0, 100, 10))


def test_the_model_sees_the_past_only() -> None:
    torch.manual_seed(0)
    model = Gpt(Config(width=16, layers=2, context=8))
    seen: list[torch.Tensor] = []
    model.norm.register_forward_hook(lambda module, given, made: seen.append(made.detach()[0]))
    windows = torch.randint(0, 256, (1, 9))
    changed = windows.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 256
    losses = [model(each).item() for each in (windows, changed)]
    assert torch.equal(seen[0][:5], seen[1][:5])
    assert not torch.equal(seen[0][5:], seen[1][5:])
    assert losses[0] == pytest.approx(math.log(256), rel=0.1)  # it knows nothing yet


def _saved(folder: Path, attempt: int = 1, *steps: int, keep: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(folder.as_uri(), attempt, keep)
    for step in steps:
        checkpoints.save(step, STATE, {"lost_steps": 0})
    return checkpoints


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path / "with space", 2, 400)
    assert sorted(path.name for path in (tmp_path / "with space/400").iterdir()) == ["commit-2.json", "state-2.safetensors"]
    assert checkpoints.newest() == Commit(2, 400)
    state, notes = checkpoints.load(Commit(2, 400))
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in STATE.items())
    assert (notes["step"], notes["attempt"], notes["lost_steps"]) == (400, 2, 0)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, 1, 5, 10, 15, 20, keep=2)
    assert [commit.step for commit in checkpoints.committed()] == [20, 15]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["15", "20"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "no state", "no marker", "torn marker"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    checkpoints = _saved(tmp_path, 1, 5, 10)
    state, marker = tmp_path / "10/state-1.safetensors", tmp_path / "10/commit-1.json"
    whole = state.read_bytes()
    if damage == "cut":
        state.write_bytes(whole[:-3])
    elif damage == "flipped":
        state.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "torn marker":
        marker.write_text(marker.read_text()[:20])
    else:
        (state if damage == "no state" else marker).unlink()
    assert checkpoints.newest() == Commit(1, 5)
    said = capsys.readouterr().out
    assert damage == "no marker" or "checkpoint of step 10 (attempt 1) is damaged, falling back" in said


def test_an_old_attempt_neither_overwrites_nor_leads(tmp_path: Path) -> None:
    old = _saved(tmp_path, 1, 5, 10)
    new = _saved(tmp_path, 2, 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*-2.*")}
    with pytest.raises(SupersededError, match="attempt 2 has saved step 10: this is attempt 1"):
        old.save(15, STATE, {})
    # The old attempt had looked before attempt 2 saved anything, and writes all the same:
    old._put("15/state-1.safetensors", b"late")
    old._put("15/commit-1.json", json.dumps({"sha256": "x"}).encode())
    old._drop_old()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*-2.*")} == before
    assert new.newest() == Commit(2, 10)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_save_that_fails_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    checkpoints = _saved(tmp_path, 1, 5)

    def fail(handle: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no"):
        checkpoints.save(10, {name: tensor + 1 for name, tensor in STATE.items()}, {})
    assert checkpoints.newest() == Commit(1, 5)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")]


def test_checkpoints_on_an_object_store() -> None:
    url = "memory://train-test/checkpoints"
    checkpoints = Checkpoints(url, 1, 1)
    for step in (5, 10):
        checkpoints.save(step, STATE, {"lost_steps": 0})
    assert checkpoints.committed() == [Commit(1, 10)]
    loaded: tuple[Any, Any] = Checkpoints(url, 2, 1).load(Commit(1, 10))
    assert torch.equal(loaded[0]["model/w"], STATE["model/w"])
