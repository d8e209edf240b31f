"""Connects Hugging Face Trainer, Lightning and Accelerate to the hook. A framework is imported only when it is used.

The callbacks report progress, save and exit when a stop is requested, and mirror the checkpoint folder after each save. `hook` is the
module hook.py.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["AccelerateRun", "lightning_callback", "trainer_callback"]


def trainer_callback(hook: Any) -> Any:
    """Return a callback for transformers.Trainer. Set the trainer's `output_dir` to the folder of `checkpoints`."""
    base: Any = import_module("transformers").TrainerCallback

    class HookCallback(base):  # type: ignore[misc]
        stopping = False

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            numbers = {name: value for name, value in (logs or {}).items() if isinstance(value, int | float)}
            hook.report(state.global_step, steps=state.max_steps, **numbers)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if hook.stop_requested():
                self.stopping = control.should_save = control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            hook.save_checkpoints(leave=self.stopping)

    return HookCallback()


def lightning_callback(hook: Any, every: int) -> Any:
    """Return a callback for lightning's Trainer. It saves step-<n>.ckpt into the folder of `checkpoints` every `every` steps."""
    base: Any = import_module("lightning").Callback

    class HookCallback(base):  # type: ignore[misc]
        done = 0

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            step = trainer.global_step
            if step == self.done:  # gradients are accumulated: no optimizer step yet
                return
            self.done = step
            metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
            hook.report(step, steps=trainer.max_steps if trainer.max_steps > 0 else None, **metrics)
            stop = hook.stop_requested()
            if stop or step % every == 0:
                path = hook.checkpoints() / f"step-{step}.ckpt"
                trainer.save_checkpoint(path)  # all ranks call it
                _keep(path, trainer.is_global_zero)
                hook.save_checkpoints(leave=stop)

    return HookCallback()


class AccelerateRun:
    """Saves and resumes an Accelerate script. `step`: number of steps done; it starts at the step of the newest save."""

    def __init__(self, hook: Any, accelerator: Any, every: int) -> None:
        self._hook, self._accelerator, self._every, self.step = hook, accelerator, every, 0
        if newest := hook.newest_checkpoint("step-*"):
            accelerator.load_state(newest)
            self.step = int(newest.rpartition("-")[2])

    def step_done(self, **metrics: float | None) -> None:
        """Count a step. Save every `every` steps. If a stop is requested, save and exit."""
        self.step += 1
        self._hook.report(self.step, **metrics)
        stop = self._hook.stop_requested()
        if stop or self.step % self._every == 0:
            path = self._hook.checkpoints() / f"step-{self.step}"
            self._accelerator.save_state(str(path))
            self._accelerator.wait_for_everyone()
            _keep(path, self._accelerator.is_local_main_process)
            self._hook.save_checkpoints(leave=stop)


def _keep(newest: Path, active: bool) -> None:
    """Delete all saves except the newest from the local folder. The run bucket keeps `checkpoint.keep` saves."""
    if not active:
        return
    for path in newest.parent.glob(f"step-*{newest.suffix}"):
        if path != newest and path.is_dir():
            shutil.rmtree(path)
        elif path != newest:
            path.unlink()
