"""An ordinary DistributedDataParallel script. Five lines marked `gpuyard` make it survive preemption.

Without gpuyard:   torchrun --nproc-per-node 2 train.py
On a yard:         gpuyard submit job.yaml
"""

import importlib.util
import io
import os
from typing import Any

import fsspec
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

hook = importlib.import_module("gpuyard_hook") if importlib.util.find_spec("gpuyard_hook") else None  # gpuyard 1: None elsewhere
STEPS, BATCH = 300, 64
FILES, FOLDER = fsspec.url_to_fs(os.environ.get("GPUYARD_CHECKPOINT_URL", "checkpoints"))  # gpuyard 2: a folder, or s3://, gs://, abfs://
SAVED = f"{FOLDER}/newest.pt"


def batch(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of the plane and whether they lie in a circle; a function of step and rank only."""
    points = torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(1000 * step + rank)) * 2 - 1
    return points, (points.norm(dim=1) < 0.8).float()


def save(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write to a second name and move it, so that a checkpoint is complete or absent."""
    state = io.BytesIO()
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, state)
    FILES.makedirs(FOLDER, exist_ok=True)
    FILES.pipe_file(f"{SAVED}.tmp", state.getvalue())
    FILES.mv(f"{SAVED}.tmp", SAVED)


def load(rank: int) -> dict[str, Any] | None:
    """Return the newest checkpoint on every rank, None when there is none. Rank 0 reads it, so that all ranks agree."""
    saved = [torch.load(io.BytesIO(FILES.cat_file(SAVED)), map_location="cpu") if rank == 0 and FILES.exists(SAVED) else None]
    dist.broadcast_object_list(saved)
    return saved[0]


def main() -> None:
    dist.init_process_group("gloo")
    rank, step = dist.get_rank(), 0
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    if saved := load(rank):
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
