"""Plan the GPU benchmark: the measurements and their order within a time budget. Pure functions, so that tests need no device.

It varies one setting after the other, each starting from the best so far: settings that depend on the device and on the shapes of a
block are tried with one preset, the microbatch with every preset. Then every preset runs for longer with its best settings. Last
the steps of baselines.py run beside one preset. The time of the long measurements and of these is reserved. What does not fit in the budget
is left out and reported. After that float8 is tried, while there is time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

Words = dict[str, str]  # the trainer's settings


@dataclass(frozen=True)
class Candidate:
    """One setting to measure. It runs for `steps` steps, and only those from `first` on count."""

    preset: str
    words: Words
    steps: int
    first: int
    saves: bool = False  # asynchronous saves are measured as well
    step: str = "trainer"  # or one of BASELINES


@dataclass(frozen=True)
class Result:
    """The result of a candidate. `tokens_per_s` is None when it failed, and `error` says why."""

    candidate: Candidate
    tokens_per_s: float | None = None
    error: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """The measurements on a kind of device. The seconds are reserves, from measured runs or as upper limits."""

    presets: tuple[str, ...]
    swept: str  # the preset of the single-setting runs
    base: Words
    axes: dict[str, tuple[str, ...]]
    micros: dict[str, tuple[int, ...]]
    short_s: float  # for a candidate of the sweep
    long_s: dict[str, float]  # for a preset's long measurement
    float8: tuple[tuple[str, str], ...] = ()  # a preset and a recipe, tried last; needs torchao


GPU = Plan(
    presets=("gpt_124m", "gpt_350m", "gpt_1b3"),
    swept="gpt_350m",
    base={"attention": "cudnn,flash,efficient,math", "compile": "on", "loss": "chunked"},
    axes={"attention": ("flash,efficient,math",), "loss": ("plain",), "compile": ("max", "graphs", "off")},
    micros={"gpt_124m": (32, 64, 128), "gpt_350m": (32, 64), "gpt_1b3": (8, 16)},
    short_s=30.0,
    long_s={"gpt_124m": 40.0, "gpt_350m": 50.0, "gpt_1b3": 100.0},
    float8=(("gpt_1b3", "tensorwise"), ("gpt_1b3", "rowwise")),
)
CPU = Plan(  # a test of the code: its figures mean nothing
    presets=("gpt_tiny",),
    swept="gpt_tiny",
    base={"loss": "plain"},
    axes={"loss": ("chunked",)},
    micros={"gpt_tiny": (8, 4)},
    short_s=60.0,
    long_s={"gpt_tiny": 90.0},
)
BASELINES = ("plain", "torchtitan")  # steps of baselines.py
_SHORT, _LONG = (16, 8), (60, 20)  # steps, and the first that counts


def sweep(
    plan: Plan, measure: Callable[[Candidate, float], Result], budget_s: float, clock: Callable[[], float] = time.monotonic
) -> list[Result]:
    """Measure within the budget. `measure` gets a candidate and the seconds that it may take."""
    over, found, beside_s = clock() + budget_s, list[Result](), len(BASELINES) * plan.short_s
    best: dict[str, Words] = {preset: {**plan.base, "micro": str(plan.micros[preset][0])} for preset in plan.presets}

    def attempt(preset: str, words: Words) -> Result:
        return within(Candidate(preset, words, *_SHORT), over - sum(plan.long_s.values()) - beside_s - clock())

    def within(candidate: Candidate, left_s: float) -> Result:
        found.append(measure(candidate, left_s) if left_s >= plan.short_s else Result(candidate, error="left out: no time"))
        return found[-1]

    def fastest(preset: str, axis: str, values: tuple[str, ...], known: Result | None) -> Result | None:
        tried = [*([known] if known else []), *(attempt(preset, {**best[preset], axis: value}) for value in values)]
        winner = max((one for one in tried if one.tokens_per_s), key=lambda one: one.tokens_per_s or 0.0, default=None)
        if winner:
            best[preset] = winner.candidate.words
        return winner

    winner: Result | None = attempt(plan.swept, best[plan.swept])
    for axis, values in plan.axes.items():
        winner = fastest(plan.swept, axis, values, winner)
    for preset in plan.presets:
        micros = [str(micro) for micro in plan.micros[preset]]
        best[preset] = {**best[plan.swept], "micro": micros[0]} if preset != plan.swept else best[preset]
        fastest(preset, "micro", tuple(micros[1:] if preset == plan.swept else micros), winner if preset == plan.swept else None)
    for number, preset in enumerate(plan.presets):
        later_s = sum(plan.long_s[other] for other in plan.presets[number + 1 :])
        found.append(measure(Candidate(preset, best[preset], *_LONG, saves=True), over - later_s - beside_s - clock()))
    for step in BASELINES:
        within(Candidate(plan.swept, {"micro": best[plan.swept]["micro"]}, *_SHORT, step=step), over - clock())
    for preset, recipe in plan.float8:
        within(Candidate(preset, {**best[preset], "float8": recipe}, *_SHORT), over - clock())
    return found
