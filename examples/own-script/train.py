"""An ordinary DistributedDataParallel script. Five lines marked `gpuyard` make it survive preemption.

Without gpuyard:   torchrun --nproc-per-node 2 train.py
On a yard:         gpuyard submit job.yaml
"""

import importlib.util
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

hook = importlib.import_module("gpuyard_hook") if importlib.util.find_spec("gpuyard_hook") else None  # gpuyard 1: None elsewhere
STEPS, BATCH = 300, 64
SAVED = (hook.checkpoints() if hook else Path("checkpoints")) / "newest.pt"  # gpuyard 2: a local folder, restored on every node


def batch(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of the plane and whether they lie in a circle; a function of step and rank only."""
    points = torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(1000 * step + rank)) * 2 - 1
    return points, (points.norm(dim=1) < 0.8).float()


def save(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write to a second name and rename it, so that a checkpoint is complete or absent."""
    SAVED.parent.mkdir(exist_ok=True)
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, f"{SAVED}.tmp")
    os.replace(f"{SAVED}.tmp", SAVED)


def main() -> None:
    dist.init_process_group("gloo")
    rank, step = dist.get_rank(), 0
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    if SAVED.exists():
        saved = torch.load(SAVED, map_location="cpu")
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
        _ = hook and hook.report(step, loss=loss.item(), steps=STEPS)  # gpuyard 3
        stop = bool(hook and hook.stop_requested())  # gpuyard 4: the same answer on every rank
        if stop or step % 50 == 0:
            if rank == 0:
                save(step, model, optimizer)
                print(f"step {step}/{STEPS}  loss {loss.item():.4f}", flush=True)
            _ = hook and hook.save_checkpoints(leave=stop)  # gpuyard 5: copies the folder to the run's bucket, and exits after a stop
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
