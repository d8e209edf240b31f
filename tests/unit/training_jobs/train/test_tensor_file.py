"""Tensors encoded as a safetensors file: any reader loads them, and no byte of them is copied."""

from __future__ import annotations

import hashlib

import safetensors.torch
import torch

from gpuyard.training_jobs.train import tensor_file

TENSORS = {
    "b": torch.arange(5, dtype=torch.uint8),
    "a": torch.randn(3, 4),
    "h": torch.randn(2, 3).bfloat16(),
    "step": torch.tensor(7.0),
    "none": torch.zeros(0, 4),
    "n": torch.tensor([True, False]),
}


def test_safetensors_loads_encoded_tensors() -> None:
    pieces = tensor_file.encode(TENSORS, {"format": "pt"})
    data = b"".join(pieces)
    loaded = safetensors.torch.load(data)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    assert tensor_file.sha256(pieces) == hashlib.sha256(data).hexdigest()


def test_the_data_are_views_of_the_tensors() -> None:
    tensor = torch.zeros(4)
    pieces = tensor_file.encode({"w": tensor})
    tensor += 1.0  # a copy would still hold zeros
    assert torch.equal(safetensors.torch.load(b"".join(pieces))["w"], torch.ones(4))
