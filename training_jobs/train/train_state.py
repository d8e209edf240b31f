"""A run's state at a step: the distributed model, optimizer moments and random numbers. Saves and resumes them."""

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
from ..launch.storage import StorageUnreachableError
from . import huggingface
from .checkpoint import CheckpointSaver, State, load_checkpoint
from .checkpoint_store import CheckpointStore, Commit, Marker
from .config import Config, ConfigError, RunEnvironment, differences, digest
from .data import load
from .float8 import check_float8, convert_to_float8
from .metrics import TimeAccount
from .model import initialise
from .parallel import ParallelModel, resolve_auto
from .process_group import RankInfo
from .tasks import TASKS


class TrainState:
    """The model and its optimizer at a step, independent of the number of ranks."""

    def __init__(self, config: Config, environment: RunEnvironment, ranks: RankInfo, log: Callable[[str], None]) -> None:
        self._ranks, self._log = ranks, log
        self.step, self.account = 0, TimeAccount(began_at=time.time())
        data = load(config)
        with torch.device("meta"):  # no memory yet, because the size decides the strategy
            self.parameters = sum(parameter.numel() for parameter in TASKS[config.task](config, data).model().parameters())
        self.config, reasons = resolve_auto(config, ranks, self.parameters)
        for reason in reasons:
            log(reason)
        check_float8(self.config, self.parameters, ranks.device)
        self.data = data
        self.task = TASKS[config.task](self.config, data)
        with torch.device("meta"):
            model = self.task.model()
        convert_to_float8(model, self.config)
        self.net = ParallelModel(model, self.config, ranks)
        self.model = self.net.model
        initialise(self.model, config.seed)
        self.optimizer = self._optimizer()
        self.checkpoints = CheckpointStore(environment.checkpoint_url, environment.attempt, environment.checkpoint_keep, config.keep_every)
        self.saver = CheckpointSaver(self.checkpoints, self.config.saving == "async")
        self.net.wrap_ddp()
        self._warm_up_ddp()
        torch.manual_seed(config.seed + ranks.rank * 1_000_003)
        self._resume()
        if config.init and self.step == 0:
            huggingface.load_weights(config.init, self.model)
            log(f"weights from {config.init}")

    def update(self) -> None:
        """Update the weights once from the current gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

    def learning_rate(self) -> float:
        """Return the learning rate of the next step."""
        return scheduled_lr(self.config, self.step)

    def save(self, wait: bool) -> None:
        """Save this step. Raises SupersededError or StorageError on all ranks."""
        self.checkpoints.best = self.account.best_step
        notes = {
            "account": self.account.to_notes(),
            "config": asdict(self.config),
            "digest": digest(self.config),
            "torch": torch.__version__,
            "world": self._ranks.world,
            "strategy": self.config.strategy,
        }
        state = self._state()
        if self.config.strategy == "ddp":  # every rank has the whole state, so each rank writes a share of it
            state = own_share(state, self._ranks.rank, self._ranks.world)
        self.saver.save(self.step, state, notes, wait)

    def full_weights(self) -> dict[str, torch.Tensor]:
        """Gather the full weights on the CPU of rank 0. All ranks call this."""
        whole = {}
        for name, parameter in self.model.named_parameters():
            tensor = parameter.detach()
            tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self._ranks.rank == 0:
                whole[name] = tensor.cpu().contiguous()
        return whole

    def _optimizer(self) -> torch.optim.AdamW:
        """Build a fused AdamW. Only matrices get weight decay. Its moments are allocated at once, so that a checkpoint can be loaded."""
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
        """Return all tensors that a resume needs. Their names are the same for any number of ranks and any strategy."""
        state: State = {}
        for name, parameter in self.model.named_parameters():
            state[f"model/{name}"] = parameter.detach()
            state |= {f"optimizer/{name}/{key}": value for key, value in self.optimizer.state[parameter].items()}
        return state | self._rng_state()

    def _rng_state(self) -> State:
        """Return this rank's random number states."""
        state = {f"random/{self._ranks.rank}/cpu": torch.get_rng_state()}
        if self._ranks.device.type == "cuda":
            state[f"random/{self._ranks.rank}/cuda"] = torch.cuda.get_rng_state()
        return state

    def _resume(self) -> None:
        """Resume from the newest intact checkpoint. If a rank cannot load a checkpoint, all ranks try the previous checkpoint."""
        found = [self.checkpoints.committed() if self._ranks.rank == 0 else None]
        dist.broadcast_object_list(found, 0)
        for commit in found[0] or []:
            shared: list[Any] = [None]
            if self._ranks.rank == 0:
                try:
                    shared = [self.checkpoints.marker(commit)]
                except StorageUnreachableError as error:  # the checkpoint may be intact, so training must not restart from an older one
                    shared = [error]
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    shared = [str(error) or type(error).__name__]
            dist.broadcast_object_list(shared, 0)
            if isinstance(shared[0], StorageUnreachableError):
                raise shared[0]
            problem = shared[0] if isinstance(shared[0], str) else self._load(shared[0], commit)
            if problem is None:
                self._restore_counters(shared[0], commit.attempt)
                return
            self._log(f"checkpoint of step {commit.step} (attempt {commit.attempt}) is damaged, using the previous checkpoint: {problem}")
        if found[0]:  # a failed load may have written some tensors
            initialise(self.model, self.config.seed)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()

    def _load(self, marker: Marker, commit: Commit) -> str | None:
        """Load a checkpoint. Returns its problem, or None. Raises ConfigError if its config differs."""
        if marker.get("digest") != digest(self.config):
            other = "; ".join(differences(self.config, marker.get("config", {})))
            fix = "fix: use the same settings, or another out= for a new run"
            raise ConfigError(f"the checkpoint of step {commit.step} has another config: {other}; {fix}")
        state = self._state()
        mine = {name: value for name, value in state.items() if name in marker["tensors"] or not name.startswith("random/")}
        if marker["world"] != self._ranks.world:
            mine = {name: value for name, value in mine.items() if not name.startswith("random/")}
        try:
            load_checkpoint(self.checkpoints, commit, marker, mine)
        except ValueError as error:
            return str(error)
        if (numbers := mine.get(f"random/{self._ranks.rank}/cpu")) is not None:
            torch.set_rng_state(numbers)
        if (numbers := mine.get(f"random/{self._ranks.rank}/cuda")) is not None:
            torch.cuda.set_rng_state(numbers)
        return None

    def _restore_counters(self, marker: Marker, attempt: int) -> None:
        """Restore the step and the time account, and count the steps that were lost since the checkpoint."""
        self.step, self.account = int(marker["step"]), TimeAccount.from_notes(marker["account"])
        before = hook.last_report()
        restarts = self.account.restarts
        if before is not None:
            self.account.lost_steps = int(before[1].get("lost_steps") or 0) + max(0, before[0] - self.step)
            restarts = max(restarts, int(before[1].get("restarts") or 0))
        self.account.restarts = restarts + 1
        world = "" if marker["world"] == self._ranks.world else f", of {marker['world']} ranks"
        self._log(f"resumed from step {self.step}, saved by attempt {attempt}{world} ({self.account.lost_steps} steps lost so far)")

    def _warm_up_ddp(self) -> None:
        """Run one backward pass, so that DDP rebuilds its gradient buckets before the first real step.

        The buckets decide the order in which gradients are summed. Without this, a resumed run would differ from an uninterrupted run
        in the last bit of one step.
        """
        if self.config.strategy != "ddp":
            return
        inputs, targets = (tensor.to(self._ranks.device) for tensor in self.task.batch(0, self._ranks.rank, self._ranks.world))
        size = self.config.micro or len(inputs)
        with self.net.forward_context():
            loss = self.net.wrapped(inputs[:size], targets[:size])
        loss.backward()
        self.optimizer.zero_grad()


def own_share(state: State, rank: int, world: int) -> State:
    """Return the replicated tensors that this rank saves. Each rank gets about the same number of bytes.

    torch itself divides replicated tensors among the ranks, but only after every rank has copied all of them to pinned host memory.
    """
    loads, owners = [0] * world, dict[str, int]()
    for name, tensor in sorted(state.items(), key=lambda item: (-item[1].nbytes, item[0])):
        if name.startswith("random/"):  # random states belong to one rank
            continue
        owner = loads.index(min(loads))
        loads[owner] += tensor.nbytes
        owners[name] = owner
    return {name: tensor for name, tensor in state.items() if owners.get(name, rank) == rank}


def scheduled_lr(config: Config, step: int) -> float:
    """Return a step's learning rate: linear warm-up, then a cosine to a tenth, or (wsd) constant until the last fifth, then linear to 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = min((step - config.warmup) / max(config.steps - config.warmup, 1), 1.0)
    if config.schedule == "wsd":
        return config.lr * min(1.0, (1.0 - share) / 0.2)
    return config.lr * (0.55 + 0.45 * math.cos(math.pi * share))
