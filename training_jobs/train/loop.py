"""The training loop: one step after the other, the stop vote in the loss's reduction, a save when it is due."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..launch import hook
from .checkpoint import StorageError
from .checkpoint_store import SupersededError
from .config import Config, Surroundings
from .metrics import Metrics, Output, memory
from .parallel import Place, lower_patience
from .speed import peak, shares
from .train_state import Run
from .watch import Feeder, Garbage, Grace, Profile, Stopwatch, Stragglers, Votes

IO_ERROR = 74
_LINE_EVERY_S = 2.0


class NotFiniteError(Exception):
    """The gradients are not finite; the weights of the step before are untouched."""


class Trainer:
    """A run and the loop over its steps, on every rank alike."""

    def __init__(self, config: Config, around: Surroundings) -> None:
        self.begun = time.monotonic()
        self.place = Place.here()
        self.run = Run(config, around, self.place, self.say)
        self.config, self.around, self.task = self.run.config, around, self.run.task
        self.output = Output(around.output_url, self.place.rank == 0)
        self.metrics = Metrics(self.output, config.tensorboard, self.run.step, self.place.rank == 0)
        self._feeder = Feeder(lambda step: self.task.batch(step, self.place.rank, self.place.world), self.place.device)
        self._votes, self._watch, self._stragglers = Votes(self.place.device), Stopwatch(self.place.device), Stragglers(self.place)
        self._work, self._peak = self.task.work(), peak(self.place.device)
        self._rates: list[float] = []
        self._loss, self._norm, self._saved_at = math.nan, math.nan, time.monotonic()
        self._first_step_s: float | None = None

    @property
    def step(self) -> int:
        """The steps that are done."""
        return self.run.step

    def train(self) -> dict[str, Any]:
        """Train to the last step. Returns the run's figures; leaves with 75 when a stop was voted."""
        profile = Profile(self.config.profile if self.place.rank == 0 else "", self.output.leave)
        window = self._window = _Window(self.run.step)
        said_at = self._saved_at = time.monotonic()
        with Garbage() as garbage, Grace():
            while self.run.step < self.config.steps:
                began, last = time.monotonic(), self.run.step + 1 == self.config.steps
                profile.step(self.run.step)
                self._one_step()
                stop, due = self._hear(last)
                self.run.account.productive_s += time.monotonic() - began
                self._after_first()
                if self._log_is_due(last or stop):
                    window = self._log(window)
                if self._evaluate_is_due(last):
                    due = self._evaluate() or due
                if due or stop or last or self._due_by_count():
                    self._save(wait=stop or last)
                if time.monotonic() - said_at > _LINE_EVERY_S or last or stop:
                    said_at = time.monotonic()
                    rate = f"{self._rates[-1] / 1000:.1f}k {self.task.unit}/s" if self._rates else ""
                    self.say(f"step {self.run.step}/{self.config.steps}  loss {self._loss:.4f}  {rate}")
                self._report()
                if stop:
                    self._leave()
                garbage.step(self.run.step)
        self._feeder.close()
        self.run.saver.close()
        return self._figures()

    def validate(self) -> dict[str, Any]:
        """The task's figures over the whole validation split."""
        net = self.run.net
        net.model.eval()
        with torch.no_grad(), net.running():
            found = self.task.validate(net.model, self.place.rank, self.place.world, self._sum)
        net.model.train()
        return found

    def say(self, text: str) -> None:
        """Print on rank 0."""
        if self.place.rank == 0:
            print(text, flush=True)

    def _one_step(self) -> None:
        """A step of all ranks: the batch in parts, the gradients summed over all targets that count, one update."""
        run, config = self.run, self.config
        inputs, targets = self._feeder.get(run.step)
        size = config.micro or len(inputs)
        parts = list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
        total = torch.zeros((), device=self.place.device)
        for number, part in enumerate(parts):
            with run.net.accumulating(number + 1 == len(parts)):
                with run.net.running(), self._watch.timing():
                    loss: Tensor = run.net.net(*part)
                (loss * (self.place.world / self.task.counted)).backward()  # type: ignore[no-untyped-call]  # the ranks' mean is taken
                total += loss.detach()
        norm = run.net.clip(config.clip)
        self._guard(norm)
        run.update()
        due = self.place.rank == 0 and time.monotonic() - self._saved_at > self.around.checkpoint_every_s
        if due:
            self._saved_at = time.monotonic()  # vote once
        self._votes.cast([total / self.task.counted, norm / self.place.world], [hook.stop_asked(), due])

    def _guard(self, norm: Tensor) -> None:
        """Refuse to update from gradients that are not finite, without making the host wait for a GPU."""
        message = f"step {self.run.step + 1}: the gradients are not finite. fix: a lower lr=, or look at the data of this step"
        if norm.device.type == "cuda":
            torch._assert_async(torch.isfinite(norm), message)
        elif not torch.isfinite(norm):
            raise NotFiniteError(message)

    def _hear(self, last: bool) -> tuple[bool, bool]:
        stop = due = False
        for loss, norm, stops, dues in self._votes.hear(last):
            self._loss, self._norm = loss, norm
            stop, due = stop or stops > 0, due or dues > 0
        return stop, due

    def _after_first(self) -> None:
        if self._first_step_s is None:
            self._first_step_s = time.monotonic() - self.begun
            if self.place.device.type == "cuda":
                self.say(lower_patience())

    def _log_is_due(self, ends: bool) -> bool:
        return ends or self.run.step % self.config.log_every == 0

    def _log(self, window: _Window) -> _Window:
        """Write a line of metrics and begin the next window."""
        passed = time.monotonic() - window.began
        steps = self.run.step - window.step
        rate = steps * self.task.counted / passed
        skew, slow = self._stragglers.compare(self._watch.read())
        for name in slow:
            self.say(f"straggler: {name}")
        self._rates.append(rate)
        account = self.run.account
        self.metrics.write(
            self.run.step,
            {
                "loss": _plain(self._loss),
                "lr": self.run.learning_rate(),
                "grad_norm": _plain(self._norm),
                f"{self.task.unit}_per_s": rate,
                "step_s": passed / max(steps, 1),
                "data_wait": (self._feeder.waited_s - window.waited_s) / passed,
                "skew": skew,
                "goodput": account.goodput(),
                "lost_steps": account.lost_steps,
                **shares(self._work, rate, self.place.world, self._peak),
                **memory(self.place.device),
            },
        )
        return _Window(self.run.step, self._feeder.waited_s)

    def _evaluate_is_due(self, last: bool) -> bool:
        return self.config.eval_every > 0 and self.run.step % self.config.eval_every == 0 and not last

    def _evaluate(self) -> bool:
        """Validate in between; whether it was the best so far, which is kept."""
        found = self.validate()
        self.metrics.write(self.run.step, {name: value for name, value in found.items() if isinstance(value, float)})
        account, loss = self.run.account, found["val_loss"]
        better = loss is not None and (account.best_loss is None or loss < account.best_loss)
        if better:
            account.best_loss, account.best_step = loss, self.run.step
        return better

    def _due_by_count(self) -> bool:
        every = self.config.save_every_steps
        return every > 0 and self.run.step % every == 0

    def _save(self, wait: bool) -> None:
        """All ranks save, and learn how it went. Raises SystemExit: 75 when superseded, 74 when storage failed."""
        try:
            self.run.save(wait)
            self.metrics.flush()
        except SupersededError as error:
            self.say(str(error))
            self._leave()
        except StorageError as error:
            self.say(f"cannot save step {error.step} below {self.around.checkpoint_url}: {error.reason}. Earlier checkpoints are intact")
            raise SystemExit(IO_ERROR) from None
        self._saved_at = time.monotonic()

    def _report(self) -> None:
        account = self.run.account
        rate = self._rates[-1] if self._rates else None
        more: dict[str, float | None] = {"steps": self.config.steps, "lost_steps": account.lost_steps, "restarts": account.restarts}
        if self.run.saver.took_s is not None:
            more["save_s"] = self.run.saver.took_s
        hook.report(self.run.step, loss=self._loss, tokens_per_s=rate, goodput=account.goodput(), **more)

    def _leave(self) -> None:
        self._feeder.close()
        self.say(f"leaving at step {self.run.step}, to be resumed")
        hook.leave_resumable()

    def _figures(self) -> dict[str, Any]:
        rate = statistics.median(self._rates) if self._rates else None
        blocked = self.run.saver.blocked_s
        return {
            "loss": _plain(self._loss),
            f"{self.task.unit}_per_s": rate,
            **shares(self._work, rate, self.place.world, self._peak),
            "first_step_s": self._first_step_s,
            "data_wait_s": self._feeder.waited_s,
            "saves": len(blocked),
            "save_blocked_s": max(blocked) if blocked else None,
            "save_blocked_median_s": statistics.median(blocked) if blocked else None,
        }

    def _sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks of values that lie on the CPU."""
        dist.all_reduce(values)
        return values


class _Window:
    """The steps of one line of metrics."""

    def __init__(self, step: int, waited_s: float = 0.0) -> None:
        self.step, self.waited_s, self.began = step, waited_s, time.monotonic()


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
