"""What a run leaves: classification metrics against scikit-learn's, learnt digits, the exported model, charts, TensorBoard."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.train import charts, classify, export, generate, optional, predict, prepare
from gpuyard.training_jobs.train.__main__ import main
from gpuyard.training_jobs.train.config import ConfigError
from gpuyard.training_jobs.train.shards import read_index

TINY = ["steps=4", "batch=4", "context=16", "width=16", "layers=1", "corpus_bytes=50000", "val_bytes=4096", "threads=2"]


@pytest.fixture(autouse=True)
def _no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not start the trainer's watchdog, which would end pytest's process."""
    monkeypatch.setattr("gpuyard.training_jobs.train.__main__.leave_process_group", lambda code: dist.destroy_process_group())


def test_classification_metrics_by_hand() -> None:
    found = classify.classification_metrics(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 4]]))
    assert found["accuracy"] == pytest.approx(0.7)
    assert found["recall_macro"] == pytest.approx((3 / 4 + 0 + 4 / 6) / 3)  # the second class is predicted, but does not occur
    assert found["precision_weighted"] == pytest.approx((3 / 5 * 4 + 1 * 6) / 10)
    assert classify.confusion_csv([[1, 2], [3, 4]], ["a,b", "c"]) == b'actual \\ predicted,"a,b",c\n"a,b",1,2\nc,3,4\n'


def test_classification_metrics_equal_scikit_learns() -> None:
    theirs = importlib.import_module("sklearn.metrics")
    random = np.random.default_rng(0)
    actual = random.integers(0, 7, 500)
    predicted = np.where(random.random(500) < 0.7, actual, random.integers(0, 7, 500))
    found = classify.classification_metrics(theirs.confusion_matrix(actual, predicted))
    assert found["accuracy"] == pytest.approx(theirs.accuracy_score(actual, predicted))
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = theirs.precision_recall_fscore_support(actual, predicted, average=average)
        assert [found[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx([precision, recall, f1])


def test_a_run_writes_all_its_files_and_the_export_works_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, f"out={tmp_path.as_uri()}"]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["val_loss"] > result["bigram_entropy"] > result["trigram_entropy"]
    assert result["perplexity"] == pytest.approx(np.exp(result["val_loss"]))
    assert result["bits_per_byte"] == pytest.approx(result["val_loss"] / np.log(2))
    assert (result["mfu"], result["hfu"], result["saves"], result["restarts"], result["strategy"]) == (None, None, 1, 0, "single")
    assert 0 < result["save_blocked_s"] < 60
    assert 0 < result["first_step_s"] < 60
    about = json.loads((tmp_path / "config.json").read_text())
    assert (about["config"]["saving"], about["config"]["precision"]) == ("sync", "fp32")
    assert {"model.safetensors", "config.json", "README.md"} == {path.name for path in (tmp_path / "model").iterdir()}
    assert len((tmp_path / "sample.txt").read_text(errors="replace")) > 50
    assert (tmp_path / "loss.png").exists() == (optional.import_optional("matplotlib") is not None)
    assert "| val_loss |" in (tmp_path / "model/README.md").read_text()
    capsys.readouterr()
    for _ in range(2):
        assert generate.main([f"model={(tmp_path / 'model').as_uri()}", "prompt=def ", "tokens=5"]) == 0
    one, two = capsys.readouterr().out[:-1].split("def ")[1:]
    assert one.strip() == two.strip()
    with pytest.raises(FileNotFoundError):
        generate.load_model((tmp_path / "nothing").as_uri())
    assert predict.main([f"model={(tmp_path / 'model').as_uri()}", "x.png"]) == 64


def test_the_export_has_a_long_timeout_and_the_sample_comes_from_the_weights_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []
    write = export.write
    monkeypatch.setattr(dist.distributed_c10d, "set_timeout", lambda timeout, _: events.append(timeout.total_seconds()), raising=False)

    def recorded(*args: Any) -> None:
        events.append("export")
        write(*args)

    monkeypatch.setattr(export, "write", recorded)
    monkeypatch.setattr(export, "load", lambda url: pytest.fail("the export was read again"))
    assert main([*TINY, f"out={tmp_path.as_uri()}"]) == 0
    assert events == [3600.0, "export"]
    assert len((tmp_path / "sample.txt").read_text(errors="replace")) > 50


def test_invalid_settings_and_failed_storage_have_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stesp=3"]) == 64
    assert "did you mean steps=?" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert main([*TINY, f"out={(tmp_path / 'file').as_uri()}"]) == 74
    assert "cannot write below" in capsys.readouterr().err


def test_the_resnet_learns_the_digits(tmp_path: Path) -> None:
    assert main(["preset=resnet_digits", "steps=250", f"out={tmp_path.as_uri()}"]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["accuracy"] >= 0.98
    assert result["f1_macro"] >= 0.98
    table = (tmp_path / "confusion.csv").read_text().splitlines()
    assert sum(int(count) for row in table[1:] for count in row.split(",")[1:]) == np.sum(result["confusion"])
    assert (tmp_path / "confusion.png").exists() == (optional.import_optional("matplotlib") is not None)


def test_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "import_optional", lambda module: None)
    assert charts.loss_curve([], {}, "") is charts.confusion_matrix([[1]], []) is None
    monkeypatch.undo()
    for drawn in (
        charts.loss_curve([{"step": 1, "loss": 2.0}, {"step": 1, "val_loss": 3.0}], {"x": 1.0}, "gpt_tiny"),
        charts.confusion_matrix([[1, 0], [0, 2]], ["a", "b"]),
    ):
        assert drawn is not None
        assert drawn.startswith(b"\x89PNG")


def test_the_loss_curve_names_the_run_and_shows_restarts_and_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(charts, "_png", drawn.append)
    points: list[dict[str, Any]] = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "restart": 1},
        {"step": 4, "restart": 2},
        {"step": 5, "val_loss": 1.0, "accuracy": 0.9},
    ]
    charts.loss_curve(points, {}, "resnet_digits night-7")
    left, right = drawn[0].axes
    assert left.get_title() == "resnet_digits night-7"
    assert [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == ":"] == [2, 4]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["loss", "validation loss", "restart"]
    assert (right.get_ylabel(), list(right.lines[0].get_ydata())) == ("accuracy", [0.9])


def test_optional_packages_are_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match="requests is not in the table"):
        optional.import_optional("requests")
    monkeypatch.setitem(optional.OPTIONAL, "no_such_module", "no-such-package")
    with pytest.raises(ConfigError, match="fix: pip install no-such-package"):
        optional.require_optional("no_such_module", "this")


@pytest.mark.parametrize("more", [["vocab=300"], ["preset=resnet_digits", "width=8", "steps=2", "batch=4"]])
def test_synthetic_data_trains_and_validates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "report"))
    monkeypatch.setattr(hook, "_metrics", {})
    assert main([*TINY, "data=synthetic", *more, f"out={tmp_path.as_uri()}"]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["val_loss"] is None
    assert result["loss"] > 0
    assert result["images_per_s" if "preset=resnet_digits" in more else "tokens_per_s"] > 0
    report = hook.last_report()
    assert report is not None
    assert ("tokens_per_s" in report[1], "images_per_s" in report[1]) == ("vocab=300" in more, "vocab=300" not in more)
    assert (tmp_path / "model/model.safetensors").exists()
    assert not (tmp_path / "sample.txt").exists()


class _Words:
    """The part of the package `tokenizers` that the trainer uses: one token per word."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    @classmethod
    def from_str(cls, text: str) -> _Words:
        return cls(json.loads(text))

    def token_to_id(self, word: str) -> int | None:
        return self._words.index(word) if word in self._words else None

    def get_vocab_size(self) -> int:
        return len(self._words)

    def encode(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(ids=[self._words.index(word) for word in text.split()])

    def decode(self, tokens: list[int]) -> str:
        return " ".join(self._words[token] for token in tokens)


def test_the_tokenizer_is_stored_with_the_data_and_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", SimpleNamespace(Tokenizer=_Words))
    numbers = [str(number) for number in range(80)]
    (tmp_path / "words.json").write_text(json.dumps([*numbers, "number", "of", "<|endoftext|>"]))
    lines = "".join(json.dumps({"text": f"number {number} of 79 number"}) + "\n" for number in numbers)
    (tmp_path / "x.jsonl").write_text(lines)
    data, arguments = (tmp_path / "data").as_uri(), [str(tmp_path / "x.jsonl"), "kind=jsonl", f"tokenizer={tmp_path / 'words.json'}"]
    assert prepare.main([*arguments, f"out={data}", "held_out=0.3"]) == 0
    index = read_index(data)
    assert (index.vocab, index.tokenizer, index.dtype) == (83, "tokenizer.json", "|u1")
    assert index.bytes_per_token == pytest.approx(sum(len(f"number {n} of 79 number ") for n in numbers) / (6 * 80))
    assert main([*TINY, f"data={data}", "vocab=83", f"out={(tmp_path / 'out').as_uri()}"]) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["bits_per_byte"] == pytest.approx(result["val_loss"] / np.log(2) / index.bytes_per_token)
    assert (tmp_path / "out/sample.txt").read_text().split()[0] in [*numbers, "number", "of"]
    assert prepare.main([*arguments, f"out={data}", "end=<eos>"]) == 64
