"""The trainer's settings: one dataclass, presets, and `key=value` arguments."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .presets import PRESETS


class ConfigError(Exception):
    """A setting is invalid. The message lists every problem."""


@dataclass(frozen=True)
class Config:
    """The settings of a training run. The defaults are the preset gpt_tiny: one minute on a few CPU cores."""

    preset: str = "gpt_tiny"
    task: str = "gpt"
    # the data
    data: str = "stdlib"  # stdlib | digits | synthetic | a folder that `prepare` made: its URL, or its name in the job's `data:`
    corpus_bytes: int = 4 * 2**20  # bytes of the stdlib text to train on
    val_bytes: int = 256 * 2**10  # bytes of other files of the stdlib text, for validation
    cache_gib: float = 64.0  # shards cached on this node's disk; the least recently used are deleted first
    # the model
    context: int = 64  # tokens in a window
    width: int = 96  # of a GPT; of a ResNet the channels of its first stage
    layers: int = 2  # of a GPT; of a ResNet the blocks in each of its three stages
    heads: int = 2
    vocab: int = 256  # the matrix is padded to a multiple of 128
    dropout: float = 0.0
    document_mask: str = "off"  # on: a token attends only to its own document
    init: str = ""  # URL of a Hugging Face folder (Llama or Qwen2) to start from; it decides the shape of the model
    model: str = "gpt"  # gpt | llama: grouped queries, SwiGLU; the settings below are llama's
    kv_heads: int = 0  # 0: as many as heads
    head_width: int = 0  # 0: width / heads
    ffn: int = 0  # inner width of the feed-forward part; 0: 8/3 of the width, rounded up to a multiple of 128
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: str = ""  # Llama 3.1's: factor,low,high,original context
    tied: str = "on"  # the output matrix is the embedding; in the larger presets it is a matrix of its own
    biases: str = "none"  # qkv: biases of queries, keys and values, as in Qwen2
    # the optimisation
    steps: int = 400
    batch: int = 48  # windows or images in one step, over all ranks
    micro: int = 0  # windows or images in one forward pass of a rank; 0: the rank's whole part
    lr: float = 6e-3
    warmup: int = 20
    schedule: str = "cosine"  # cosine: down to a tenth | wsd: constant, then linear to 0 in the last fifth
    weight_decay: float = 0.1
    clip: float = 1.0
    label_smoothing: float = 0.0
    shift: int = 0  # largest random shift of an image, in pixels
    seed: int = 0
    # the machine
    strategy: str = "auto"  # auto: by model size, the reason is printed | single | ddp | fsdp | hsdp
    precision: str = "auto"  # auto: bf16 on a GPU, fp32 on a CPU; the weights stay fp32
    float8: str = "off"  # off | tensorwise | rowwise: products of the blocks with torchao, for 1B parameters and more; not measured
    compile: str = "auto"  # auto: on a GPU | off | on: block by block | max: autotuned | graphs: with CUDA graphs
    loss: str = "auto"  # auto: chunked on a GPU, unless the vocabulary is small | chunked | plain
    attention: str = "cudnn,flash,efficient,math"  # the order in which the backends are tried
    # recomputed in the backward pass to save memory: none | selective: all but matrix products and attention | block: all
    recompute: str = "none"
    deterministic: str = "off"  # on: the same bits in each run on the same GPUs, which costs speed; a CPU has them anyway
    threads: int = 1  # of each rank on the CPU
    # the cadence
    save_every_steps: int = 0  # 0: only by time, GPUYARD_CHECKPOINT_EVERY_S
    keep_every: int = 0  # never delete the checkpoints of steps that are multiples of this
    saving: str = "auto"  # auto: async on a GPU | async | sync
    eval_every: int = 0  # 0: only at the end
    eval_tokens: int = 2**23  # validation tokens, or images, at most: the split's first ones; 0: the whole split
    log_every: int = 10  # steps per line of metrics.jsonl
    profile: str = ""  # first:last, the steps to trace
    memory_snapshot: str = "off"  # on: when a GPU's memory is full, its allocations go to memory-<rank>.pickle, for pytorch.org/memory_viz
    tensorboard: str = "auto"  # auto: where the service names a folder | on | off
    sinks: str = ""  # wandb, mlflow or both, with a comma: metrics go there too
    out: str = ""  # a URL; empty: GPUYARD_OUTPUT_URL, else ./gpuyard-train


CHOICES = {
    "task": ("gpt", "resnet"),
    "model": ("gpt", "llama"),
    "document_mask": ("off", "on"),
    "tied": ("off", "on"),
    "biases": ("none", "qkv"),
    "schedule": ("cosine", "wsd"),
    "strategy": ("auto", "single", "ddp", "fsdp", "hsdp"),
    "precision": ("auto", "fp32", "bf16"),
    "compile": ("auto", "off", "on", "max", "graphs"),
    "loss": ("auto", "chunked", "plain"),
    "float8": ("off", "tensorwise", "rowwise"),
    "recompute": ("none", "selective", "block"),
    "deterministic": ("off", "on"),
    "saving": ("auto", "async", "sync"),
    "tensorboard": ("auto", "on", "off"),
    "memory_snapshot": ("off", "on"),
}

# Settings that a resumed run may change: they decide where, how fast and how long it runs, not its result.
CHANGEABLE_ON_RESUME = frozenset(
    (
        *("preset", "steps", "micro", "strategy", "compile", "loss", "attention", "recompute", "deterministic", "threads", "cache_gib"),
        *("save_every_steps", "keep_every", "saving", "eval_every", "eval_tokens", "log_every", "profile", "memory_snapshot"),
        *("tensorboard", "sinks", "out"),
    )
)


@dataclass(frozen=True)
class RunEnvironment:
    """The settings from the platform: where to write, how often to save, and the number of this attempt."""

    output_url: str
    checkpoint_url: str
    checkpoint_every_s: float
    checkpoint_keep: int
    attempt: int
    run_id: str | None

    @classmethod
    def from_env(cls, config: Config) -> RunEnvironment:
        """Read the GPUYARD_* variables. Without them, use the folder gpuyard-train in the current directory."""
        env = os.environ
        output = config.out or env.get("GPUYARD_OUTPUT_URL") or Path("gpuyard-train").absolute().as_uri()
        return cls(
            output_url=output,
            checkpoint_url=env.get("GPUYARD_CHECKPOINT_URL") or f"{output}/checkpoints",
            checkpoint_every_s=float(env.get("GPUYARD_CHECKPOINT_EVERY_S", "60")),
            checkpoint_keep=int(env.get("GPUYARD_CHECKPOINT_KEEP", "3")),
            attempt=int(env.get("GPUYARD_ATTEMPT", "1")),
            run_id=env.get("GPUYARD_RUN_ID"),
        )


def parse_config(words: Sequence[str]) -> Config:
    """Parse `key=value` arguments into a Config. Raises ConfigError with every problem at once."""
    values, others, problems = parse_settings(words, Config)
    problems += [f"unknown argument, got {word!r}, allowed: key=value" for word in others]
    name = values.get("preset", "gpt_tiny")
    if name not in PRESETS:
        problems.append(f"preset: got {name!r}{_suggestion(name, PRESETS)}")
    config = Config(**{**PRESETS.get(name, {}), **values})
    problems += _invalid(config)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def parse_settings(words: Iterable[str], kind: type[Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Parse `key=value` words for a dataclass. Returns the values, the words without `=`, and the problems."""
    known: dict[str, Any] = {field.name: type(field.default) for field in fields(kind)}
    values: dict[str, Any] = {}
    others, problems = [], []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            others.append(word)
        elif key not in known:
            problems.append(f"unknown setting, got {word!r}{_suggestion(key, known, '=')}")
        else:
            try:
                values[key] = known[key](text)
            except ValueError:
                problems.append(f"{key}: got {text!r}, allowed: {'a whole number' if known[key] is int else 'a number'}")
    return values, others, problems


def digest(config: Config | Mapping[str, Any]) -> str:
    """Return a digest of the settings that decide the result: all except CHANGEABLE_ON_RESUME."""
    values = config if isinstance(config, Mapping) else asdict(config)
    return hashlib.sha256(json.dumps({k: v for k, v in sorted(values.items()) if k not in CHANGEABLE_ON_RESUME}).encode()).hexdigest()[:16]


def differences(config: Config, other: Mapping[str, Any]) -> list[str]:
    """List the settings that decide the result and differ from another run's config."""
    mine = asdict(config)
    keys = sorted((mine.keys() | other.keys()) - CHANGEABLE_ON_RESUME)
    return [f"{key}: {other.get(key)} in the checkpoint, {mine.get(key)} now" for key in keys if other.get(key) != mine.get(key)]


def _suggestion(got: str, allowed: Mapping[str, Any], end: str = "") -> str:
    close = difflib.get_close_matches(got, allowed, 1)
    return f"; did you mean {close[0]}{end}?" if close else f"; allowed: {', '.join(allowed)}"


def _is_step_range(text: str) -> bool:
    first, _, last = text.partition(":")
    return first.isdecimal() and last.isdecimal() and int(first) < int(last)


def _invalid(config: Config) -> list[str]:
    least = dict.fromkeys(("steps", "batch", "context", "width", "layers", "heads", "vocab", "threads", "corpus_bytes", "val_bytes"), 1)
    least |= dict.fromkeys(("micro", "warmup", "shift", "seed", "save_every_steps", "keep_every", "eval_every", "eval_tokens"), 0) | {
        "log_every": 1
    }
    problems = [
        f"{name}: got {getattr(config, name)}, allowed: {bound} or more" for name, bound in least.items() if getattr(config, name) < bound
    ]
    for name, allowed in CHOICES.items():
        if (got := getattr(config, name)) not in allowed:
            problems.append(f"{name}: got {got!r}, allowed: {', '.join(allowed)}")
    unknown = set(config.attention.split(",")) - {"cudnn", "flash", "efficient", "math"}
    if unknown:
        problems.append(f"attention: got {', '.join(sorted(unknown))!r}, allowed: cudnn, flash, efficient, math")
    if config.model == "llama" and config.heads > 0 and config.heads % (config.kv_heads or config.heads):
        problems.append(f"kv_heads: got {config.kv_heads}, allowed: divisors of heads ({config.heads})")
    if config.rope_scaling and len(config.rope_scaling.split(",")) != 4:
        problems.append(f"rope_scaling: got {config.rope_scaling!r}, allowed: factor,low,high,original context")
    if unknown := set(filter(None, config.sinks.split(","))) - {"wandb", "mlflow"}:
        problems.append(f"sinks: got {', '.join(sorted(unknown))!r}, allowed: wandb, mlflow")
    if config.task == "gpt" and not config.head_width and config.heads > 0 and config.width % (2 * config.heads):
        problems.append(f"width: got {config.width}, allowed: multiples of 2 x heads ({2 * config.heads})")
    if config.data == "stdlib" and config.val_bytes <= config.context:
        problems.append(f"val_bytes: got {config.val_bytes}, allowed: more than one window ({config.context})")
    if config.deterministic == "on" and config.compile == "max":
        problems.append("compile: got max, which is not deterministic; fix: compile=on with deterministic=on")
    if not 0 <= config.dropout < 1:
        problems.append(f"dropout: got {config.dropout}, allowed: 0 to below 1")
    if config.profile and not _is_step_range(config.profile):
        problems.append(f"profile: got {config.profile!r}, allowed: first:last, two steps")
    return problems
