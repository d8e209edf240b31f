"""Writes the logits that transformers computes for tiny models, which tests compare with the trainer's, and checks our exports.

    pip install transformers && python -m tools.huggingface_golden

The tests do not depend on transformers, because its import takes longer than the tests. Written with transformers 5.24 and torch 2.15.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from gpuyard.training_jobs.train import huggingface, llama
from gpuyard.training_jobs.train.config import Config
from gpuyard.training_jobs.train.metrics import Output

__all__ = ["GOLDEN", "TOKENS", "filled", "main"]

GOLDEN = Path(__file__).resolve().parents[1] / "tests/unit/training_jobs/train/huggingface_golden.json"
TOKENS = [[1, 5, 9, 2, 31, 0, 7, 7, 12, 30]]
_SHAPE = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
_SCALING = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
_THETA = {"rope_type": "default", "rope_theta": 1e6}
_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"num_key_value_heads": 4, "rms_norm_eps": 1e-6}),
    "llama 3.1": ("Llama", {"num_key_value_heads": 2, "head_dim": 8, "rope_parameters": _SCALING}),
    "mistral": ("Mistral", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": None, "rope_parameters": _THETA}),
    "qwen2": ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True, "rope_parameters": _THETA}),
}


def filled(name: str, shape: torch.Size) -> torch.Tensor:
    """Return a tensor whose values depend on its name and shape alone."""
    wave = torch.sin(torch.arange(shape.numel(), dtype=torch.float64) * 0.7 + len(name)).view(shape)
    return (1.0 + 0.1 * wave if "norm" in name else 0.3 * wave).float()


def main() -> int:
    """Write the file. Returns 1 when transformers computes other logits from our exports."""
    transformers = import_module("transformers")
    found, worst = {}, 0.0
    for case, (kind, settings) in _CASES.items():
        config = getattr(transformers, f"{kind}Config")(**_SHAPE, **settings)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(filled(name, parameter.shape))
            logits = model(torch.tensor(TOKENS)).logits[0]
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, max_shard_size="8KB")
            about = json.loads(Path(folder, "config.json").read_text())
            ours = huggingface.with_shape(Config(init=Path(folder).as_uri(), context=len(TOKENS[0])))
            again = llama.Llama(ours).eval()
            huggingface.load_weights(Path(folder).as_uri(), again)
            weights = {name: parameter.detach() for name, parameter in again.named_parameters()}
            huggingface.save(Output(Path(folder).as_uri(), True), "export", ours, weights, 8_000)
            exported = transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/export", dtype=torch.float32).eval()
            with torch.no_grad():
                pairs = [(again.logits(torch.tensor(TOKENS))[0], logits), (exported(torch.tensor(TOKENS)).logits[0], logits)]
        worst = max(worst, *(float((one - other).abs().max() / other.abs().max()) for one, other in pairs))
        found[case] = {"config": about, "logits": [[round(value, 6) for value in row] for row in logits.tolist()]}
    GOLDEN.write_text(json.dumps(found) + "\n")
    print(f"{GOLDEN}: largest relative difference of ours, read and exported: {worst:.1e}")
    return int(worst > 1e-5)


if __name__ == "__main__":
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    sys.exit(main())
