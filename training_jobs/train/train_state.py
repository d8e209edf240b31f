"""What a run is made of at some step: the model on its place, the moments, the random numbers; how it is saved and found again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from ..launch import hook
from .checkpoint import Saver, State, read
from .checkpoint_store import Checkpoints
from .config import Config, ConfigError, Surroundings, differences, digest
from .data import load
from .metrics import Account
from .model import initialise
from .parallel import Net, Place, decide
from .tasks import TASKS


class Run:
    """A model and its optimizer at a step, the same whatever the number of ranks."""

    def __init__(self, config: Config, around: Surroundings, place: Place, say: Callable[[str], None]) -> None:
        self._place, self._say = place, say
        self.step, self.account = 0, Account(began_at=time.time())
        data = load(config)
        with torch.device("meta"):  # no memory yet: how large it is decides where it goes
            self.parameters = sum(parameter.numel() for parameter in TASKS[config.task](config, data).model().parameters())
        self.config, reasons = decide(config, place, self.parameters)
        for reason in reasons:
            say(reason)
        self.data = data
        self.task = TASKS[config.task](self.config, data)
        with torch.device("meta"):
            model = self.task.model()
        self.net = Net(model, self.config, place)
        self.model = self.net.model
        initialise(self.model, config.seed)
        self.optimizer = self._optimizer()
        self.checkpoints = Checkpoints(around.checkpoint_url, around.attempt, around.checkpoint_keep, config.keep_every)
        self.saver = Saver(self.checkpoints, self.config.saving == "async")
        self.net.copy_to_ranks()
        self._settle()
        torch.manual_seed(config.seed + place.rank * 1_000_003)
        self._resume()

    def update(self) -> None:
        """One update from the gradients that are there."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

    def learning_rate(self) -> float:
        """Of the step that comes next."""
        return schedule(self.config, self.step)

    def save(self, wait: bool) -> None:
        """Save this step. Raises SupersededError or StorageError on all ranks alike."""
        self.checkpoints.best = self.account.best_step
        notes = {
            "account": self.account.notes(),
            "config": asdict(self.config),
            "digest": digest(self.config),
            "torch": torch.__version__,
            "world": self._place.world,
            "strategy": self.config.strategy,
        }
        self.saver.save(self.step, self._state(), notes, wait)

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """The weights in one piece on the CPU of rank 0; all ranks take part."""
        whole = {}
        for name, parameter in self.model.named_parameters():
            tensor = parameter.detach()
            tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self._place.rank == 0:
                whole[name] = tensor.cpu().contiguous()
        return whole

    def _optimizer(self) -> torch.optim.AdamW:
        """AdamW in one fused pass; matrices decay, scales do not. Its moments are there from the start, to be loaded into."""
        config = self.config
        decayed = [parameter for parameter in self.model.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in self.model.parameters() if parameter.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay}]
        groups += [{"params": others, "weight_decay": 0.0}] if others else []
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)
        for parameter in self.model.parameters():
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
        return optimizer

    def _state(self) -> State:
        """Everything that is needed to go on, by names that mean the same on any number of ranks and under any strategy."""
        state: State = {}
        for name, parameter in self.model.named_parameters():
            state[f"model/{name}"] = parameter.detach()
            state |= {f"optimizer/{name}/{key}": value for key, value in self.optimizer.state[parameter].items()}
        return state | self._random()

    def _random(self) -> State:
        """This rank's random numbers."""
        state = {f"random/{self._place.rank}/cpu": torch.get_rng_state()}
        if self._place.device.type == "cuda":
            state[f"random/{self._place.rank}/cuda"] = torch.cuda.get_rng_state()
        return state

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint: rank 0 looks, all load, and if one of them cannot, all take the one before."""
        found = [self.checkpoints.committed() if self._place.rank == 0 else None]
        dist.broadcast_object_list(found, 0)
        for commit in found[0] or []:
            told: list[Any] = [None]
            if self._place.rank == 0:
                try:
                    told = [self.checkpoints.marker(commit)]
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    told = [str(error) or type(error).__name__]
            dist.broadcast_object_list(told, 0)
            problem = told[0] if isinstance(told[0], str) else self._take(told[0], commit)
            if problem is None:
                self._resumed(told[0], commit.attempt)
                return
            self._say(f"checkpoint of step {commit.step} (attempt {commit.attempt}) is damaged, falling back: {problem}")
        if found[0]:  # a load that failed may have left anything
            initialise(self.model, self.config.seed)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()

    def _take(self, marker: dict[str, Any], commit: Any) -> str | None:
        """Load a checkpoint; what is wrong with it, or None."""
        if marker.get("digest") != digest(self.config):
            other = "; ".join(differences(self.config, marker.get("config", {})))
            fix = "fix: the same settings, or another out= for a run of its own"
            raise ConfigError(f"the checkpoint of step {commit.step} is of another config: {other}. {fix}")
        state = self._state()
        mine = {name: value for name, value in state.items() if name in marker["tensors"] or not name.startswith("random/")}
        if marker["world"] != self._place.world:
            mine = {name: value for name, value in mine.items() if not name.startswith("random/")}
        try:
            read(self.checkpoints, commit, marker, mine)
        except ValueError as error:
            return str(error)
        if (numbers := mine.get(f"random/{self._place.rank}/cpu")) is not None:
            torch.set_rng_state(numbers)
        if (numbers := mine.get(f"random/{self._place.rank}/cuda")) is not None:
            torch.cuda.set_rng_state(numbers)
        return None

    def _resumed(self, marker: dict[str, Any], attempt: int) -> None:
        self.step, self.account = int(marker["step"]), Account.of(marker["account"])
        before = hook.last_report()
        restarts = self.account.restarts
        if before is not None:
            self.account.lost_steps = int(before[1].get("lost_steps") or 0) + max(0, before[0] - self.step)
            restarts = max(restarts, int(before[1].get("restarts") or 0))
        self.account.restarts = restarts + 1
        world = "" if marker["world"] == self._place.world else f", of {marker['world']} ranks"
        self._say(f"resumed from step {self.step}, saved by attempt {attempt}{world} ({self.account.lost_steps} steps lost so far)")

    def _settle(self) -> None:
        """Let DDP lay out its buckets before the first step that counts.

        It does so after its first backward pass, and the layout decides the order in which gradients are summed:
        a resumed run would differ from an undisturbed one in the last bit of one step.
        """
        if self.config.strategy != "ddp":
            return
        inputs, targets = (tensor.to(self._place.device) for tensor in self.task.batch(0, self._place.rank, self._place.world))
        size = self.config.micro or len(inputs)
        with self.net.running():
            loss = self.net.net(inputs[:size], targets[:size])
        loss.backward()
        self.optimizer.zero_grad()


def schedule(config: Config, step: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth, or (wsd) level until the last fifth, then down to nothing."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = min((step - config.warmup) / max(config.steps - config.warmup, 1), 1.0)
    if config.schedule == "wsd":
        return config.lr * min(1.0, (1.0 - share) / 0.2)
    return config.lr * (0.55 + 0.45 * math.cos(math.pi * share))
