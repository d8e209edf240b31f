"""The training loop: one step after the other, the stop vote in the loss's reduction, a save when it is due, exact resume."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..launch import hook
from . import corpus
from .checkpoint import Checkpoints, State, SupersededError
from .config import Config, ConfigError, Surroundings
from .model import Gpt

IO_ERROR = 74
_LINE_EVERY_S = 2.0
_SAVED, _SUPERSEDED, _FAILED = range(3)


class Trainer:
    """A model, its optimizer and the step they are at, on every rank alike."""

    def __init__(self, config: Config, around: Surroundings) -> None:
        self.config, self.around = config, around
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.step = 0
        self.lost_steps = 0
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else torch.device("cpu")
        self.data = corpus.load(config.corpus_bytes, config.val_bytes)
        torch.manual_seed(config.seed)
        self.model = Gpt(config).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
        )
        self.checkpoints = Checkpoints(around.checkpoint_url, around.attempt, around.checkpoint_keep)
        self._resume()
        self.ddp = DistributedDataParallel(self.model)
        self._settle_buckets()

    def train(self) -> dict[str, Any]:
        """Train to the last step. Returns the run's figures; leaves with 75 when a stop was voted."""
        began, first = time.monotonic(), self.step
        saved_at = told_at = began
        told_step, loss, rate = first, math.nan, 0.0
        while self.step < self.config.steps:
            due = self.rank == 0 and time.monotonic() - saved_at > self.around.checkpoint_every_s
            loss, stop, due = self._one_step(due)
            if due or stop or self.step == self.config.steps or self._due_by_count():
                self._save()
                saved_at = time.monotonic()
            now = time.monotonic()
            if now - told_at > _LINE_EVERY_S or self.step == self.config.steps or stop:
                rate = (self.step - told_step) * self.config.batch * self.config.context / (now - told_at)
                told_at, told_step = now, self.step
                self._say(f"step {self.step}/{self.config.steps}  loss {loss:.4f}  {rate / 1000:.1f}k tok/s")
            hook.report(self.step, loss=loss, tokens_per_s=rate or None, steps=self.config.steps, lost_steps=self.lost_steps)
            if stop:
                self._say(f"stop asked: step {self.step} is saved, leaving to be resumed")
                hook.leave_resumable()
        tokens = (self.step - first) * self.config.batch * self.config.context
        return {"loss": None if math.isnan(loss) else loss, "tokens_per_s": tokens / (time.monotonic() - began) if tokens else None}

    @torch.no_grad()
    def validate(self) -> float:
        """The mean loss over the whole validation text, in nats per byte."""
        self.model.eval()
        windows = torch.from_numpy(corpus.windows(self.data.validation, self.config.context, self.rank, self.world))
        total = torch.zeros(2, dtype=torch.float64)
        for part in torch.split(windows, max(self.config.batch // self.world, 1)):
            total += torch.tensor([self.model(part.to(self.device)).item() * len(part), len(part)], dtype=torch.float64)
        self._sum(total)
        self.model.train()
        return float(total[0] / total[1])

    def _one_step(self, due: bool) -> tuple[float, bool, bool]:
        """One step of all ranks; the mean loss, and whether any rank saw a stop and rank 0 wants a save."""
        config = self.config
        if config.dropout:  # random numbers, like batches, depend on seed, step and rank alone
            torch.manual_seed(hash((config.seed, self.step, self.rank)))
        loss = self.ddp(self._batch(self.step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = _learning_rate(config, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        vote = torch.tensor([loss.item() / self.world, float(hook.stop_asked()), float(due)], dtype=torch.float64)
        self._sum(vote)
        return float(vote[0]), bool(vote[1] > 0), bool(vote[2] > 0)

    def _batch(self, step: int) -> Tensor:
        mine = self.config.batch // self.world
        windows = corpus.batch(self.data.train, self.config.seed, step, self.config.batch, self.config.context)
        return torch.from_numpy(windows[self.rank * mine : (self.rank + 1) * mine]).to(self.device)

    def _due_by_count(self) -> bool:
        every = self.config.save_every_steps
        return every > 0 and self.step % every == 0

    def _save(self) -> None:
        """Rank 0 writes, all learn how it went. Raises SystemExit: 75 when superseded, 74 when storage failed."""
        outcome = torch.tensor([_SAVED])
        if self.rank == 0:
            notes = {"lost_steps": self.lost_steps, "config": asdict(self.config), "torch": torch.__version__, "world": self.world}
            try:
                self.checkpoints.save(self.step, self._state(), notes)
            except SupersededError as error:
                self._say(str(error))
                outcome[0] = _SUPERSEDED
            except OSError as error:
                reason = error.strerror or str(error)
                self._say(f"cannot save step {self.step} below {self.around.checkpoint_url}: {reason}. Earlier checkpoints are intact")
                outcome[0] = _FAILED
        dist.broadcast(outcome.to(self.device), 0) if self.device.type == "cuda" else dist.broadcast(outcome, 0)
        if outcome.item() == _SUPERSEDED:
            hook.leave_resumable()
        if outcome.item() == _FAILED:
            raise SystemExit(IO_ERROR)

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint: rank 0 chooses, all load the same."""
        choice: list[Any] = [self.checkpoints.newest() if self.rank == 0 else None]
        dist.broadcast_object_list(choice, 0)
        if choice[0] is None:
            return
        state, notes = self.checkpoints.load(choice[0])
        try:
            self._take(state)
        except (RuntimeError, KeyError) as error:
            raise ConfigError(f"the checkpoint of step {choice[0].step} is of another model: {str(error).splitlines()[0]}") from None
        self.step, self.lost_steps = int(notes["step"]), int(notes["lost_steps"])
        before = hook.last_report()
        if before is not None:
            self.lost_steps = int(before[1].get("lost_steps") or 0) + max(0, before[0] - self.step)
        self._say(f"resumed from step {self.step}, saved by attempt {choice[0].attempt} ({self.lost_steps} steps lost so far)")

    def _state(self) -> State:
        state = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": tensor for name, tensor in moments.items()}
        return state

    def _take(self, state: State) -> None:
        weights: State = {}
        moments: dict[int, State] = {}
        for name, tensor in state.items():
            part, _, rest = name.partition("/")
            if part == "model":
                weights[rest] = tensor
            else:
                index, _, key = rest.partition("/")
                moments.setdefault(int(index), {})[key] = tensor
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def _settle_buckets(self) -> None:
        """Let DDP lay out its buckets before the first step that counts.

        It does so after its first backward pass, and the layout decides the order in which gradients are summed:
        a resumed run would differ from an undisturbed one in the last bit of one step.
        """
        self.ddp(self._batch(0)).backward()
        self.optimizer.zero_grad()

    def _sum(self, values: Tensor) -> None:
        """Sum over the ranks in place; the values lie on the CPU."""
        if self.device.type == "cpu":
            dist.all_reduce(values)
            return
        moved = values.to(self.device)
        dist.all_reduce(moved)
        values.copy_(moved)

    def _say(self, text: str) -> None:
        if self.rank == 0:
            print(text, flush=True)


def _learning_rate(config: Config, step: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.lr * (0.55 + 0.45 * math.cos(math.pi * share))
