"""Hugging Face Trainer with gpuyard: the four lines marked `gpuyard` make it survive preemption.

On a yard: `command: [hugging_face_trainer.py]` in the job file, with `setup:` or an image that installs transformers and accelerate.
"""

import gpuyard_hook  # gpuyard 1
import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

STEPS = 60


class Counting(Dataset):
    """Sequences that count up, which a small model learns."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        tokens = (torch.arange(16) + number) % 64
        return {"input_ids": tokens, "labels": tokens}


def main() -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **shape))
    arguments = TrainingArguments(
        output_dir=gpuyard_hook.checkpoints(),  # gpuyard 2
        max_steps=STEPS, save_steps=20, save_total_limit=1, logging_steps=1, per_device_train_batch_size=8, learning_rate=1e-2,
        report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Counting(), callbacks=[gpuyard_hook.trainer_callback()])  # gpuyard 3
    trainer.train(resume_from_checkpoint=gpuyard_hook.newest_checkpoint("checkpoint-*"))  # gpuyard 4
    if trainer.is_world_process_zero():
        print(f"done: step {trainer.state.global_step}, loss {trainer.state.log_history[-2]['loss']:.3f}", flush=True)


if __name__ == "__main__":
    main()
