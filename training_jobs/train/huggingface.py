"""Reads and writes model folders of Hugging Face: config.json and safetensors, in one file or several with an index.

It loads Llama, Mistral without a sliding window, and Qwen2, from any fsspec URL. Other models and settings are refused by name. The
keys are those of transformers 5.24 (read 2026-12-01).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypedDict

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ..launch.storage import StorageUnreachableError
from . import llama, tensor_file
from .config import Config, ConfigError
from .metrics import Output
from .shards import open_filesystem

_KINDS = {"LlamaForCausalLM": "none", "MistralForCausalLM": "none", "Qwen2ForCausalLM": "qkv"}  # model class -> its biases
_FILE_BYTES = 5 * 10**9
_PARTS = {  # of a block: our names and theirs
    "norm_1": "input_layernorm",
    "norm_2": "post_attention_layernorm",
    **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")},
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}
_OUTER = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight", "head.weight": "lm_head.weight"}
_DTYPES = {name: dtype for dtype, name in tensor_file.DTYPES.items()}


class _Entry(TypedDict):
    """The location of a tensor: its file and byte range."""

    file: str
    dtype: str
    shape: list[int]
    begin: int
    end: int


def their_name(name: str) -> str:
    """Convert a parameter's name to its name in a Hugging Face folder."""
    if name in _OUTER:
        return _OUTER[name]
    _, number, part, kind = name.split(".")
    return f"model.layers.{number}.{_PARTS[part]}.{kind}"


def with_shape(config: Config) -> Config:
    """Return the config with the shape of the model at the URL `config.init`. Raises ConfigError if the trainer cannot load this kind of
    model, StorageUnreachableError if the storage does not answer.
    """
    fs, root = open_filesystem(config.init.rstrip("/"))
    try:
        about = json.loads(fs.cat_file(f"{root}/config.json"))
        return replace(config, model="llama", **_shape(about))
    except StorageUnreachableError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"init: got {config.init}, whose config.json cannot be read ({type(error).__name__}: {error})") from None


def _shape(about: dict[str, Any]) -> dict[str, Any]:
    kind = (about.get("architectures") or ["none"])[0]
    rope = about.get("rope_parameters") or about.get("rope_scaling") or {}
    rope_kind = rope.get("rope_type", rope.get("type", "default"))
    refused = {
        "architectures": (kind, kind in _KINDS),
        "hidden_act": (about.get("hidden_act", "silu"), about.get("hidden_act", "silu") == "silu"),
        "attention_bias": (about.get("attention_bias"), not about.get("attention_bias")),
        "mlp_bias": (about.get("mlp_bias"), not about.get("mlp_bias")),
        "sliding_window": (about.get("sliding_window"), not about.get("sliding_window") or about.get("use_sliding_window") is False),
        "rope_type": (rope_kind, rope_kind in ("default", "llama3")),
    }
    wrong = [f"{key}: got {got!r}" for key, (got, allowed) in refused.items() if not allowed]
    if wrong:
        raise ConfigError(f"init: this kind of model cannot be loaded: {'; '.join(wrong)}, allowed: {', '.join(_KINDS)}")
    keys = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    return {
        "vocab": about["vocab_size"],
        "width": about["hidden_size"],
        "layers": about["num_hidden_layers"],
        "heads": about["num_attention_heads"],
        "kv_heads": about.get("num_key_value_heads") or 0,
        "head_width": about.get("head_dim") or 0,
        "ffn": about["intermediate_size"],
        "norm_eps": float(about["rms_norm_eps"]),
        "rope_theta": float(rope.get("rope_theta", about.get("rope_theta", 10_000.0))),
        "rope_scaling": ",".join(str(float(rope[key])) for key in keys) if rope_kind == "llama3" else "",
        "tied": "on" if about.get("tie_word_embeddings") else "off",
        "biases": _KINDS[kind],
    }


def load_weights(url: str, model: nn.Module) -> None:
    """Load a folder's weights into a sharded or whole model. Rank 0 reads one tensor at a time.

    Raises ConfigError or StorageUnreachableError on all ranks if the folder cannot be used.
    """
    names = {name: their_name(name) for name, _ in model.named_parameters()}
    fs, root = open_filesystem(url.rstrip("/"))
    shared: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            table = dict(_table(fs, root))
            shapes = {names[name]: list(parameter.shape) for name, parameter in model.named_parameters()}
            unusable = [name for name, shape in shapes.items() if not _is_usable(table.get(name), shape)]
            shared = [f"missing, or of another shape or type: {', '.join(unusable[:5])}" if unusable else table]
        except StorageUnreachableError as error:
            shared = [error]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            shared = [f"{type(error).__name__}: {error}"]
    dist.broadcast_object_list(shared)
    if isinstance(shared[0], StorageUnreachableError):
        raise shared[0]
    if isinstance(shared[0], str):
        raise ConfigError(f"init: the weights of {url} cannot be loaded: {shared[0]}")
    for name, parameter in model.named_parameters():
        entry: _Entry = shared[0][names[name]]
        whole = torch.empty(entry["shape"], device=parameter.device)
        if dist.get_rank() == 0:
            data = bytearray(fs.cat_file(f"{root}/{entry['file']}", start=entry["begin"], end=entry["end"]))
            whole.copy_(torch.frombuffer(data, dtype=_DTYPES[entry["dtype"]]).view(entry["shape"]))
        with torch.no_grad():
            if isinstance(parameter, DTensor):
                parameter.copy_(distribute_tensor(whole, parameter.device_mesh, parameter.placements))
            else:
                dist.broadcast(whole, 0)
                parameter.copy_(whole)


def _is_usable(entry: _Entry | None, shape: list[int]) -> bool:
    return entry is not None and entry["shape"] == shape and entry["dtype"] in _DTYPES


def _table(fs: Any, root: str) -> Iterator[tuple[str, _Entry]]:
    """Yield the name and location of every tensor in the folder, from the headers of its files. Raises ValueError for a truncated file."""
    if fs.exists(f"{root}/model.safetensors.index.json"):
        files = sorted(set(json.loads(fs.cat_file(f"{root}/model.safetensors.index.json"))["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    for file in files:
        size = fs.size(f"{root}/{file}")
        length = int.from_bytes(fs.cat_file(f"{root}/{file}", start=0, end=8), "little")
        if 8 + length > size:
            raise ValueError(f"{file} is truncated: it has {size} bytes, and its header alone has {8 + length}")
        header = json.loads(fs.cat_file(f"{root}/{file}", start=8, end=8 + length))
        for name, about in header.items():
            if name != "__metadata__":
                begin, end = (8 + length + offset for offset in about["data_offsets"])
                if end > size:
                    raise ValueError(f"{file} is truncated: it has {size} bytes, and {name} ends at {end}")
                yield name, {"file": file, "dtype": about["dtype"], "shape": about["shape"], "begin": begin, "end": end}


def save(output: Output, folder: str, config: Config, weights: dict[str, Tensor], file_bytes: int = _FILE_BYTES) -> None:
    """Write a model folder that transformers can load. Raises OSError."""
    files: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        if files[-1] and size + tensor.nbytes > file_bytes:
            files.append({})
            size = 0
        files[-1][their_name(name)] = tensor.contiguous()
        size += tensor.nbytes
    names = [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    names = names if len(files) > 1 else ["model.safetensors"]
    for file, tensors in zip(names, files, strict=True):
        output.write(f"{folder}/{file}", tensor_file.encode(tensors, {"format": "pt"}))
    if len(files) > 1:
        places = {name: file for file, tensors in zip(names, files, strict=True) for name in tensors}
        index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())}, "weight_map": places}
        output.write(f"{folder}/model.safetensors.index.json", json.dumps(index, indent=1))
    output.write(f"{folder}/config.json", json.dumps(_about(config), indent=1))


def _about(config: Config) -> dict[str, Any]:
    """Return the content of config.json for one of this trainer's models."""
    biased = config.biases == "qkv"
    rope: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if config.rope_scaling:
        factor, low, high, original = (float(part) for part in config.rope_scaling.split(","))
        rope |= {"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high}
        rope["original_max_position_embeddings"] = int(original)
    return {
        "architectures": ["Qwen2ForCausalLM" if biased else "LlamaForCausalLM"],
        "model_type": "qwen2" if biased else "llama",
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "intermediate_size": llama.ffn(config),
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": llama.kv_heads(config),
        **({} if biased else {"head_dim": llama.head_width(config)}),
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": rope,
        **({"rope_scaling": rope} if config.rope_scaling else {}),
        "tie_word_embeddings": config.tied == "on",
        "torch_dtype": "float32",
    }
