"""Measures a run while it trains, for metrics.jsonl, the progress in `gpuyard status`, and result.json."""

from __future__ import annotations

import math
import statistics
import time

from ..launch import hook
from .metrics import MetricsLog, memory_stats
from .process_group import RankInfo
from .profiling import Stopwatch, Stragglers
from .save_schedule import SaveSchedule
from .speed import peak_flops, utilisation
from .tasks import Figures
from .train_state import TrainState


class Reports:
    """Measures the loop in windows of `log_every` steps. All ranks make the same calls."""

    def __init__(self, state: TrainState, ranks: RankInfo, metrics: MetricsLog, saves: SaveSchedule) -> None:
        self._state, self._ranks, self._metrics, self._saves = state, ranks, metrics, saves
        self.stopwatch, self._stragglers = Stopwatch(ranks.device, state.model), Stragglers(ranks)
        self._flops, self._peak = state.task.flops(), peak_flops(ranks.device)
        self._rates: list[float] = []
        self.first_step_s: float | None = None
        self._started = time.monotonic()
        self._window = _Window(state.step)

    def start(self, began_at: float) -> None:
        """Start the first window. `began_at`: start of the program on the monotonic clock."""
        self._started, self._window = began_at, _Window(self._state.step)

    def count_step(self) -> bool:
        """Count a step. Returns whether it was the first step of this process."""
        first = self.first_step_s is None
        if first:
            self.first_step_s = time.monotonic() - self._started
        return first

    def log(self, loss: float, norm: float, waited_s: float) -> list[str]:
        """Write a line of metrics and start the next window. Returns new stragglers. All ranks call this."""
        window, state = self._window, self._state
        passed, steps = time.monotonic() - window.began, state.step - window.step
        rate = steps * state.task.targets_per_step / passed
        skew, slow = self._stragglers.compare(self.stopwatch.read())
        self._rates.append(rate)
        self._metrics.write(
            state.step,
            {
                "loss": finite(loss),
                "lr": state.learning_rate(),
                "grad_norm": finite(norm),
                f"{state.task.unit}_per_s": rate,
                "step_s": passed / max(steps, 1),
                "data_wait": (waited_s - window.waited_s) / passed,
                "skew": skew,
                "goodput": state.account.goodput(),
                "lost_steps": state.account.lost_steps,
                **utilisation(self._flops, rate, self._ranks.world, self._peak),
                **memory_stats(self._ranks.device),
            },
        )
        self._window = _Window(state.step, waited_s)
        return slow

    def rate_text(self) -> str:
        """Return the last window's speed as text; empty before the first window has ended."""
        return f"{self._rates[-1] / 1000:.1f}k {self._state.task.unit}/s" if self._rates else ""

    def report(self, loss: float, steps: int) -> None:
        """Report the step to launch."""
        state, account = self._state, self._state.account
        more: dict[str, float | None] = {"steps": steps, "lost_steps": account.lost_steps, "restarts": account.restarts}
        if state.saver.duration_s is not None:
            more["save_s"] = state.saver.duration_s
        more[f"{state.task.unit}_per_s"] = self._rates[-1] if self._rates else None
        hook.report(state.step, loss=loss, goodput=account.goodput(), **more)

    def figures(self, loss: float, waited_s: float) -> Figures:
        """Return the figures of the whole run for result.json."""
        rate = statistics.median(self._rates) if self._rates else None
        blocked, stalls = self._state.saver.blocked_s, self._saves.stall_s
        return {
            "loss": finite(loss),
            f"{self._state.task.unit}_per_s": rate,
            **utilisation(self._flops, rate, self._ranks.world, self._peak),
            "first_step_s": self.first_step_s,
            "data_wait_s": waited_s,
            "saves": len(blocked),
            "save_blocked_s": max(blocked, default=None),
            "save_blocked_median_s": statistics.median(blocked) if blocked else None,
            "save_stall_s": max(stalls, default=None),
        }


class _Window:
    """The start of a window: the steps of one line of metrics."""

    def __init__(self, step: int, waited_s: float = 0.0) -> None:
        self.step, self.waited_s, self.began = step, waited_s, time.monotonic()


def finite(value: float) -> float | None:
    """Return the value; None if it is not finite, because JSON has no such number."""
    return value if math.isfinite(value) else None
