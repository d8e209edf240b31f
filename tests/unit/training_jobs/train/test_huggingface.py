"""Hugging Face folders: logits as transformers computes them, several files, export, sharded ranks, and refused kinds of models.

The logits were written by tools/huggingface_golden.py with transformers, which also loaded our exports and computed the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from gpuyard.training_jobs.launch.storage import StorageUnreachableError
from gpuyard.training_jobs.train import huggingface, tensor_file
from gpuyard.training_jobs.train.config import Config, ConfigError, RunEnvironment
from gpuyard.training_jobs.train.huggingface import load_weights, their_name, with_shape
from gpuyard.training_jobs.train.llama import Llama, frequencies
from gpuyard.training_jobs.train.loop import Trainer
from gpuyard.training_jobs.train.metrics import Output
from gpuyard.training_jobs.train.speed import gpt_flops
from tools.huggingface_golden import GOLDEN, TOKENS, filled

CASES: dict[str, Any] = json.loads(GOLDEN.read_text())


@pytest.fixture(autouse=True)
def _one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _folder(folder: Path, case: str, **changes: Any) -> Config:
    """Write the folder of a case in two files, and return the config that starts from it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CASES[case]["config"] | changes))
    config = with_shape(Config(init=folder.as_uri(), context=len(TOKENS[0]), batch=4, steps=2, data="synthetic"))
    names = {their_name(name): parameter.shape for name, parameter in Llama(config).named_parameters()}
    tensors = {name: filled(name, shape) for name, shape in names.items()}
    parts = [dict(list(tensors.items())[:7]), dict(list(tensors.items())[7:])]
    for number, part in enumerate(parts, 1):
        (folder / f"model-{number}.safetensors").write_bytes(b"".join(tensor_file.encode(part)))
    places = {name: f"model-{number}.safetensors" for number, part in enumerate(parts, 1) for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return config


def _logits(url: str, config: Config) -> torch.Tensor:
    model = Llama(config).eval()
    load_weights(url, model)
    with torch.no_grad():
        return model.logits(torch.tensor(TOKENS))[0]


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_transformers(tmp_path: Path, case: str) -> None:
    config = _folder(tmp_path, case)
    wanted = torch.tensor(CASES[case]["logits"])
    assert (_logits(config.init, config) - wanted).abs().max() <= 2e-6 * wanted.abs().max()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("file_bytes", [2000, 10**9])
def test_an_exported_folder_is_loaded_with_the_same_bits(tmp_path: Path, case: str, file_bytes: int) -> None:
    config = _folder(tmp_path / "theirs", case)
    model = Llama(config)
    load_weights(config.init, model)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    url = tmp_path.as_uri() if file_bytes == 2000 else f"memory://{case}"  # a disk, and a store with ranged reads
    huggingface.save(Output(url, True), "ours", config, weights, file_bytes)
    assert (len(list((tmp_path / "ours").glob("*.safetensors"))) > 1) == (file_bytes == 2000)
    again = with_shape(replace(config, init=f"{url}/ours"))
    assert replace(again, init="") == replace(config, init="", head_width=again.head_width)
    assert torch.equal(_logits(again.init, again), _logits(config.init, config))


@pytest.mark.parametrize("strategy", ["single", "fsdp"])
def test_training_continues_from_a_folder_and_resumes_without_its_weights(tmp_path: Path, strategy: str) -> None:
    config = replace(_folder(tmp_path / "theirs", "qwen2"), strategy=strategy, save_every_steps=1)
    url = (tmp_path / "run").as_uri()

    def trainer(steps: int, attempt: int) -> Trainer:
        return Trainer(replace(config, steps=steps), RunEnvironment(url, f"{url}/checkpoints", 600, 3, attempt, None))

    started = trainer(1, 1)
    first = started.state.full_weights()["blocks.1.gate.weight"]
    assert torch.equal(first, filled("model.layers.1.mlp.gate_proj.weight", first.shape))
    started.train()
    for file in (tmp_path / "theirs").glob("*.safetensors"):
        file.unlink()
    resumed = trainer(2, 2)
    assert resumed.step == 1
    assert resumed.train()["loss"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures: got 'GPT2LMHeadModel', allowed: LlamaForCausalLM, Mistral"),
        ({"attention_bias": True}, "attention_bias: got True"),
        ({"sliding_window": 4096}, "sliding_window: got 4096"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type: got 'yarn'"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _folder(tmp_path, "llama", **changes)


@pytest.mark.parametrize(
    ("kept", "dtype", "message"),
    [
        (9, b"F32", r"model-1\.safetensors is truncated: it has 9 bytes, and its header alone has \d+"),
        (-1, b"F32", r"model-1\.safetensors is truncated: it has \d+ bytes, and model\.layers\.\S+ ends at \d+"),
        (None, b"F8_E4M3", "missing, or of another shape or type: model"),
    ],
)
def test_damaged_and_quantized_weights_are_named(tmp_path: Path, kept: int | None, dtype: bytes, message: str) -> None:
    config = _folder(tmp_path, "llama")
    file = tmp_path / "model-1.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'"F32"', b'"' + dtype + b'"')
    file.write_bytes((len(header).to_bytes(8, "little") + header + content[8 + length :])[:kept])
    with pytest.raises(ConfigError, match=f"init: the weights of .* cannot be loaded: .*{message}"):
        load_weights(config.init, Llama(config))


def test_unreachable_storage_is_no_mistake_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends with 74 is retried, one that ends with 64 never."""
    config = _folder(tmp_path, "llama")

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the store")

    monkeypatch.setattr("gpuyard.training_jobs.launch.storage._PAUSES_S", ())
    for name in ("cat_file", "size", "exists"):
        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), name, fail)
    with pytest.raises(StorageUnreachableError, match="no route to the store"):
        with_shape(replace(config, init="memory://away"))
    with pytest.raises(StorageUnreachableError, match="no route to the store"):
        load_weights("memory://away", Llama(config))


def test_missing_weights_and_folders_are_named(tmp_path: Path) -> None:
    config = _folder(tmp_path, "llama")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    with pytest.raises(ConfigError, match="missing, or of another shape or type: model"):
        load_weights(config.init, Llama(config))
    with pytest.raises(ConfigError, match=r"whose config\.json cannot be read"):
        with_shape(Config(init=(tmp_path / "none").as_uri()))


def test_flops_and_frequencies_follow_the_shape() -> None:
    config = Config(model="llama", tied="off", width=16, layers=2, heads=4, kv_heads=2, ffn=24, vocab=32, context=8)
    weights = sum(parameter.numel() for name, parameter in Llama(config).named_parameters() if "norm" not in name and "emb" not in name)
    assert gpt_flops(config).palm == 6 * weights + 12 * 2 * 16 * 8
    scaled = replace(config, rope_scaling="8,1,4,16")
    turns = 16 / (2 * math.pi)  # of the first pair over the original context: between 1, where 1/8 begins, and 4, where it ends
    blend = (turns - 1) / 3
    assert frequencies(scaled).tolist() == pytest.approx([(1 - blend) / 8 + blend, 0.01 / 8])
