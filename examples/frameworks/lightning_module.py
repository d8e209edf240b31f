"""Lightning with gpuyard: the three lines marked `gpuyard` make it survive preemption.

torchrun starts one process per device, so Lightning needs the numbers of devices and nodes that the job has.
"""

import os

import gpuyard_hook  # gpuyard 1
import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 60


class Circle(lightning.LightningModule):
    """Learns which points of the plane lie in a circle."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:  # noqa: D102
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(batch[0]).squeeze(1), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def main() -> None:
    points = torch.rand(8192, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    data = DataLoader(TensorDataset(points, (points.norm(dim=1) < 0.8).float()), batch_size=32)
    trainer = lightning.Trainer(
        devices=int(os.environ["LOCAL_WORLD_SIZE"]), num_nodes=int(os.environ["GPUYARD_NUM_NODES"]),
        strategy="ddp", accelerator="gpu" if torch.cuda.is_available() else "cpu", max_steps=STEPS,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, log_every_n_steps=1,
        callbacks=[gpuyard_hook.lightning_callback(every=20)],  # gpuyard 2: saves, reports, exits after a stop request
    )  # fmt: skip
    trainer.fit(Circle(), data, ckpt_path=gpuyard_hook.newest_checkpoint("step-*.ckpt"))  # gpuyard 3
    if trainer.is_global_zero:
        print(f"done: step {trainer.global_step}, loss {trainer.callback_metrics['loss']:.3f}", flush=True)


if __name__ == "__main__":
    main()
