"""The training loop: steps, votes for a stop, logging, validation and checkpoints."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from ..launch import hook
from .checkpoint import StorageError
from .checkpoint_store import SupersededError
from .config import Config, RunEnvironment
from .metrics import MetricsLog, Output
from .prefetch import BatchPrefetcher
from .process_group import RankInfo
from .profiling import GarbageCollector, MemorySnapshot, StepProfiler
from .reports import Reports, finite
from .save_schedule import SaveSchedule
from .sinks import RunLabels, SafeSink, open_sinks
from .tasks import Figures
from .train_state import TrainState
from .votes import StopDeadline, Votes

IO_ERROR = 74
_PRINT_EVERY_S = 2.0


class NotFiniteError(Exception):
    """The gradients are not finite. The weights were not updated."""


class StopInValidationError(Exception):
    """The ranks voted for a stop between two parts of a validation."""


class Trainer:
    """A run's state and the loop over its steps. All ranks make the same calls."""

    def __init__(self, config: Config, environment: RunEnvironment) -> None:
        self.started = time.monotonic()
        self.ranks = RankInfo.current()
        self.state = TrainState(config, environment, self.ranks, self.log)
        self.config, self.environment, self.task = self.state.config, environment, self.state.task
        self.output = Output(environment.output_url, self.ranks.rank == 0)
        self.metrics = MetricsLog(self.output, self.state.step, self.ranks.rank == 0, self._sinks())
        if self.state.account.restarts and self.state.step:
            self.metrics.write(self.state.step, {"restart": self.state.account.restarts})
        self._prefetcher = BatchPrefetcher(lambda step: self.task.batch(step, self.ranks.rank, self.ranks.world), self.ranks.device)
        self._votes = Votes(self.ranks.device)
        self._saves = SaveSchedule(environment.checkpoint_every_s, self.state.saver, self.log)
        self._reports = Reports(self.state, self.ranks, self.metrics, self._saves)
        self._loss, self._norm = self.state.account.last_loss or math.nan, math.nan

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.state.step

    def train(self) -> Figures:
        """Train to the last step and return the run's figures. Exits with 75 if the ranks vote for a stop."""
        profile = StepProfiler(self.config.profile if self.ranks.rank == 0 else "", self.output.write)
        self._reports.start(self.started)
        self._saves.start()
        printed_at = time.monotonic()
        snapshot = MemorySnapshot(
            self.config.memory_snapshot == "on" and self.ranks.device.type == "cuda", self._write_own, self.ranks.rank
        )
        with GarbageCollector() as garbage, StopDeadline(), snapshot:
            if self.state.step and self._evaluate_is_due(self.state.step >= self.config.steps):
                self._evaluate()  # its checkpoint was saved before the evaluation
            while self.state.step < self.config.steps:
                began, last = time.monotonic(), self.state.step + 1 == self.config.steps
                profile.step(self.state.step)
                with self._saves.timing_step():
                    self._one_step()
                    stop, due = self._read_votes(last)
                self.state.account.productive_s += time.monotonic() - began
                if self._reports.count_step() and self.ranks.device.type == "cuda":
                    self.log(self.state.net.shorten_timeouts())
                if last or stop or self.state.step % self.config.log_every == 0:
                    for name in self._reports.log(self._loss, self._norm, self._prefetcher.waited_s):
                        self.log(f"straggler: {name}")
                evaluates = self._evaluate_is_due(last) and not stop
                if due or stop or last or evaluates or self._due_by_count():
                    self._save(wait=stop or last)
                if evaluates:
                    self._evaluate()
                if time.monotonic() - printed_at > _PRINT_EVERY_S or last or stop:
                    printed_at = time.monotonic()
                    self.log(f"step {self.state.step}/{self.config.steps}  loss {self._loss:.4f}  {self._reports.rate_text()}")
                self._reports.report(self._loss, self.config.steps)
                if stop:
                    self._exit_resumable()
                garbage.step(self.state.step)
        self._prefetcher.close()
        self.state.saver.close()
        return self._reports.figures(self._loss, self._prefetcher.waited_s)

    def validate(self) -> Figures:
        """Validate and return the task's figures. Exits with 75 if the ranks vote for a stop (the step is already saved)."""
        net = self.state.net
        net.model.eval()
        try:
            with torch.no_grad(), net.forward_context():
                found = self.task.validate(net.model, self.ranks.rank, self.ranks.world, self._sum, self._vote_in_validation)
        except StopInValidationError:
            self._await_save()
            self._exit_resumable()
        net.model.train()
        return found

    def _vote_in_validation(self) -> None:
        if self._sum(torch.tensor([float(hook.stop_asked())])).item() > 0:
            raise StopInValidationError

    def _write_own(self, name: str, data: bytes) -> None:
        """Write a file of this rank into the output."""
        Output(self.output.url, True).write(name, data)

    def _sinks(self) -> list[SafeSink]:
        """Open the sinks on rank 0."""
        if self.ranks.rank:
            return []
        config = self.config
        labels = RunLabels(self.environment.run_id, self.environment.attempt, asdict(config))
        found, problems = open_sinks(config.sinks, config.tensorboard, f"{self.output.path}/tensorboard", labels)
        for text in problems:
            self.log(text)
        return found

    def log(self, text: str) -> None:
        """Print on rank 0."""
        if self.ranks.rank == 0:
            print(text, flush=True)

    def _one_step(self) -> None:
        """Run one step: accumulate and clip the gradients, update the weights, and start the votes."""
        state, config = self.state, self.config
        inputs, targets = self._prefetcher.get(state.step)
        size = config.micro or len(inputs)
        parts = list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
        total = torch.zeros((), device=self.ranks.device)
        for number, part in enumerate(parts):
            with state.net.gradient_sync(number + 1 == len(parts)):
                with state.net.forward_context(), self._reports.stopwatch.timing(number == 0):
                    loss: Tensor = state.net.wrapped(*part)
                (loss * (self.ranks.world / self.task.targets_per_step)).backward()  # type: ignore[no-untyped-call]  # times world: DDP and FSDP average over the ranks
                total += loss.detach()
        norm = state.net.clip_gradients(config.clip)
        self._check_finite(norm)
        state.update()
        due = self.ranks.rank == 0 and self._saves.vote()
        self._votes.cast([total / self.task.targets_per_step, norm / self.ranks.world], [hook.stop_asked(), due])

    def _check_finite(self, norm: Tensor) -> None:
        """Stop if the gradients are not finite. On a GPU the check runs on the device, so the host does not wait."""
        message = f"step {self.state.step + 1}: the gradients are not finite; fix: use a lower lr=, or inspect the data of this step"
        if norm.device.type == "cuda":
            torch._assert_async(torch.isfinite(norm), message)
        elif not torch.isfinite(norm):
            raise NotFiniteError(message)

    def _read_votes(self, last: bool) -> tuple[bool, bool]:
        stop = due = False
        for loss, norm, stop_votes, due_votes in self._votes.read(last):
            self._loss, self._norm = loss, norm
            stop, due = stop or stop_votes > 0, due or due_votes > 0
        return stop, due

    def _evaluate_is_due(self, last: bool) -> bool:
        return self.config.eval_every > 0 and self.state.step % self.config.eval_every == 0 and not last

    def _evaluate(self) -> None:
        """Validate a saved step. If its loss is the best so far, keep its checkpoint."""
        found = self.validate()
        self.metrics.write(self.state.step, {name: value for name, value in found.items() if isinstance(value, float)})
        account, loss = self.state.account, found["val_loss"]
        if loss is not None and (account.best_loss is None or loss < account.best_loss):
            account.best_loss, account.best_step = loss, self.state.step

    def _due_by_count(self) -> bool:
        every = self.config.save_every_steps
        return every > 0 and self.state.step % every == 0

    def _save(self, wait: bool) -> None:
        """Save on all ranks. Raises SystemExit on all ranks: 75 if a newer attempt has saved, 74 if storage failed."""
        self.state.account.last_loss = finite(self._loss)
        with self._storage_errors():
            self.state.save(wait)
        self.metrics.flush(wait)
        self._saves.saved(self.state.step)

    def _await_save(self) -> None:
        """Wait for a save that is still being written. Raises SystemExit like `_save`."""
        with self._storage_errors():
            self.state.saver.finish()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except SupersededError as error:
            self.log(str(error))
            self._exit_resumable()
        except StorageError as error:
            self.log(
                f"cannot save step {error.step} below {self.environment.checkpoint_url}: {error.reason}; earlier checkpoints are intact"
            )
            raise SystemExit(IO_ERROR) from None

    def _exit_resumable(self) -> NoReturn:
        self._prefetcher.close()
        self.log(f"exiting at step {self.state.step}; the run can be resumed")
        hook.leave_resumable()

    def _sum(self, values: Tensor) -> Tensor:
        """Sum CPU values over the ranks."""
        dist.all_reduce(values)
        return values
