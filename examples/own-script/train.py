"""An ordinary DistributedDataParallel script. Five lines marked `gpuyard` make it survive preemption.

Without gpuyard:   torchrun --nproc-per-node 2 train.py
On a yard:         gpuyard submit job.yaml

SAVED is a local path, which fits pools of `local`. On a cloud GPUYARD_CHECKPOINT_URL is s3://, gs:// or abfs://: open it with fsspec, as
training_jobs/train/shards.py does, or the checkpoint is lost with the machine.
"""

import importlib.util
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

hook = importlib.import_module("gpuyard_hook") if importlib.util.find_spec("gpuyard_hook") else None  # gpuyard 1: None elsewhere
STEPS, BATCH = 300, 64
SAVED = Path(unquote(urlsplit(os.environ.get("GPUYARD_CHECKPOINT_URL", "checkpoints")).path)) / "newest.pt"  # gpuyard 2


def batch(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of the plane and whether they lie in a circle; a function of step and rank only."""
    points = torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(1000 * step + rank)) * 2 - 1
    return points, (points.norm(dim=1) < 0.8).float()


def save(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write to a second file and rename it, so that a checkpoint is complete or absent."""
    SAVED.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, SAVED.with_suffix(".tmp"))
    SAVED.with_suffix(".tmp").replace(SAVED)


def main() -> None:
    dist.init_process_group("gloo")
    rank, step = dist.get_rank(), 0
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    if SAVED.exists():
        saved = torch.load(SAVED)
        step = saved["step"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    ddp = DistributedDataParallel(model)
    while step < STEPS:
        points, inside = batch(step, rank)
        loss = nn.functional.binary_cross_entropy_with_logits(ddp(points).squeeze(1), inside)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        stop = hook and hook.stop_requested()  # gpuyard 3: the same answer on every rank
        if rank == 0 and (stop or step % 50 == 0):
            save(step, model, optimizer)
            print(f"step {step}/{STEPS}  loss {loss.item():.4f}", flush=True)
        _ = hook and hook.report(step, loss=loss.item(), steps=STEPS)  # gpuyard 4
        _ = stop and hook.leave_resumable()  # gpuyard 5: exits; the next attempt resumes from SAVED
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
