"""An Accelerate loop with gpuyard: the three lines marked `gpuyard` make it survive preemption."""

import gpuyard_hook  # gpuyard 1
import torch
from accelerate import Accelerator
from torch import nn

STEPS = 60


def main() -> None:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=1e-2))
    run = gpuyard_hook.accelerate_run(accelerator, every=20)  # gpuyard 2: the newest state is loaded
    while run.step < STEPS:
        points = torch.rand(64, 2, generator=torch.Generator().manual_seed(1000 * run.step + accelerator.process_index)) * 2 - 1
        inside = (points.norm(dim=1) < 0.8).float().to(accelerator.device)
        loss = nn.functional.binary_cross_entropy_with_logits(model(points.to(accelerator.device)).squeeze(1), inside)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        run.step_done(loss=loss.item(), steps=STEPS)  # gpuyard 3: reports; saves and exits after a stop request
    accelerator.print(f"done: step {run.step}, loss {loss.item():.3f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
