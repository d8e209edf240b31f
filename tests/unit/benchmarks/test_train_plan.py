"""The GPU benchmark's plan on a simulated device: candidates, the best one, what is left out. Also a real run on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.train import report
from benchmarks.train.baselines import STEPS
from benchmarks.train.measure import figures
from benchmarks.train.plan import GPU, Candidate, Result, sweep
from gpuyard.training_jobs.train.config import parse_config

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Device:
    """A device with its own clock. Every candidate takes `takes_s`; flash attention, CUDA graphs and large batches are fast."""

    takes_s: float = 20.0
    breaks: tuple[str, ...] = ()
    now: float = 1000.0
    measured: list[Candidate] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def measure(self, candidate: Candidate, limit_s: float) -> Result:
        self.measured.append(candidate)
        self.limits.append(limit_s)
        self.now += self.takes_s
        words = candidate.words
        if candidate.step != "trainer":
            return Result(candidate, 232.0)
        if set(self.breaks) & set(words.values()):
            return Result(candidate, error="CUDA out of memory")
        speed = 100.0 * (1 + words["attention"].startswith("flash")) * (1 + (words["compile"] == "graphs")) + int(words["micro"])
        return Result(candidate, speed)

    def sweep(self, budget_s: float = 460.0) -> list[Result]:
        return sweep(GPU, self.measure, budget_s, lambda: self.now)


def test_each_axis_starts_from_the_best_so_far() -> None:
    device = Device(takes_s=1.0)
    found = device.sweep()
    assert not [result for result in found if result.error]
    swept = [candidate.words for candidate in device.measured[:6]]
    assert [words["attention"].split(",")[0] for words in swept] == ["cudnn", *["flash"] * 5]
    assert [words["loss"] for words in swept] == ["chunked", "chunked", "plain", "chunked", "chunked", "chunked"]
    assert [words["compile"] for words in swept] == ["on", "on", "on", "max", "graphs", "off"]
    finals = [result.candidate for result in found if result.candidate.saves]
    assert [(final.preset, final.words["micro"]) for final in finals] == [("gpt_124m", "128"), ("gpt_350m", "64"), ("gpt_1b3", "16")]
    assert all(final.words["attention"].startswith("flash") and final.words["compile"] == "graphs" for final in finals)
    assert all((final.steps, final.first) == (60, 20) for final in finals)
    bf16 = finals[-1].words
    assert [candidate.words for candidate in device.measured[-2:]] == [{**bf16, "float8": recipe} for recipe in ("tensorwise", "rowwise")]
    assert len({json.dumps([candidate.preset, candidate.words, candidate.saves, candidate.step]) for candidate in device.measured}) == len(
        device.measured
    )


def test_a_failing_candidate_is_reported_and_never_wins() -> None:
    found = Device(takes_s=1.0, breaks=("graphs", "64")).sweep()
    assert {result.error for result in found} == {None, "CUDA out of memory"}
    finals = [result for result in found if result.candidate.saves]
    assert all(final.tokens_per_s for final in finals)
    assert [final.candidate.words["micro"] for final in finals] == ["128", "32", "16"]


@pytest.mark.parametrize("takes_s", [5.0, 15.0, 30.0])
def test_the_budget_holds_and_every_preset_gets_its_long_measurement(takes_s: float) -> None:
    device = Device(takes_s=takes_s)
    began = device.now
    found = device.sweep()
    assert device.now - began <= 460
    assert [result.candidate.preset for result in found if result.candidate.saves] == list(GPU.presets)
    assert any(result.error == "left out: no time" for result in found) == (takes_s > 20)
    assert all(limit >= 30 for limit in device.limits)


def test_every_candidate_is_a_setting_of_the_trainer() -> None:
    device = Device(takes_s=0.0)
    for result in device.sweep():
        assert (result.candidate.step in STEPS) == (result.candidate.step != "trainer")
        parse_config([f"preset={result.candidate.preset}", *(f"{key}={value}" for key, value in result.candidate.words.items())])


def test_only_the_windows_after_the_warm_up_count() -> None:
    lines = [
        {"step": step, "tokens_per_s": float(step), "mfu": None, "mfu_causal": None, "hfu": 0.5, "data_wait": 0.0}
        for step in range(4, 41, 4)
    ]
    found = figures(lines, 20, 2400, [[600.0, 1700.0, 50.0], [700.0, 1800.0, 60.0]])
    assert (found["windows"], found["tokens_per_s"], found["step_s"]) == (5, 32.0, 75.0)
    assert (found["mfu"], found["hfu"], found["watts"], found["memory_gib"]) == (None, 0.5, 650.0, None)


def test_the_table_and_the_chart_show_failures(tmp_path: Path) -> None:
    results = [result.plain() for result in Device(takes_s=1.0, breaks=("16",)).sweep()]
    results[-6]["figures"] = {"mfu": 0.5, "save_share": 0.004, "watts": 650.0}
    document = {
        "device": "NVIDIA H200",
        "commit": "0123456789abcdef",
        "changed": True,
        "took_s": 400.0,
        "torch": "2.15",
        "results": results,
    }
    table = report.table(document)
    assert "NVIDIA H200, torch 2.15, commit 0123456789 with changes" in table
    assert "| 464 | 50.0% | - | - | 650 | - | - | 0.40% |" in table
    assert "- torchtitan gpt_350m micro=64: 232 tokens/s, the trainer is 2.00x" in table
    assert "gpt_1b3 attention=flash compile=graphs loss=chunked micro=16: CUDA out of memory" in table
    if report.chart(document, tmp_path / "chart.png"):
        assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_gpu_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    argv = [sys.executable, "-m", "benchmarks.train.gpu", "--out", str(tmp_path)]
    none = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr == "bench-gpu: torch finds no GPU; nothing was measured\n"


def test_the_benchmark_runs_on_the_cpu(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "benchmarks.train.gpu", "--out", str(tmp_path)]
    # No time for a sweep: only the long measurement.
    done = subprocess.run([*argv, "--device", "cpu", "--budget", "269"], cwd=ROOT, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stderr
    (data,) = tmp_path.glob("*.json")
    document = json.loads(data.read_text())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert document["commit"] == commit
    assert [result["error"] for result in document["results"]] == [*["left out: no time"] * 3, None, None, None]
    *_, trainer, plain, titan = document["results"]
    assert [result["candidate"]["step"] for result in (trainer, plain, titan)] == ["trainer", "plain", "torchtitan"]
    assert min(result["tokens_per_s"] for result in (trainer, plain, titan)) > 0
    assert 0 < trainer["figures"]["save_share"] < 1
