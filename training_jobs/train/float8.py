"""Multiplies a large model's matrices in float8 with torchao: `float8=tensorwise` or `rowwise`.

No GPU was available, and the speed is not measured. The tests use a stand-in of torchao. Once, on 2026-12-01, torchao 0.18.0 itself
converted both models with both recipes. With its emulation on a CPU, the loss differed by less than 0.4 % from bf16, and the cosine between
the gradients was 0.985 or more. Sources: torchao's float8 README, and experience of torchtitan and nanochat: with tensorwise,
models of 1B and more are 17 to 28 % faster, and smaller models slower (2026-07).
"""

from __future__ import annotations

import torch
from torch import nn

from .config import Config, ConfigError
from .optional import require_optional

_LEAST_PARAMETERS = 10**9
_MULTIPLE = 16  # both sides of a matrix must be a multiple of this
_LEAST_CAPABILITY = (8, 9)


def check_float8(config: Config, parameters: int, device: torch.device) -> None:
    """Raise ConfigError if float8 would not work or would be slower."""
    if config.float8 == "off":
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        raise ConfigError(f"float8: got {config.float8}, which needs a GPU with float8 units (L4, L40S, H100 or newer); fix: float8=off")
    if config.compile == "off" or config.precision != "bf16":
        raise ConfigError(f"float8: got {config.float8}, which needs compile=on and precision=bf16; fix: float8=off")
    if parameters < _LEAST_PARAMETERS:
        raise ConfigError(f"float8: got {config.float8} for {parameters / 1e9:.2f}B parameters, allowed: 1B or more; fix: float8=off")


def convert_to_float8(model: nn.Module, config: Config) -> None:
    """Convert the blocks' linear layers to float8. The output matrix stays in bf16, and parameters keep their names."""
    if config.float8 == "off":
        return
    module = require_optional("torchao.float8", f"float8={config.float8}")
    recipe = module.Float8LinearConfig.from_recipe_name(config.float8)
    module.convert_to_float8_training(model, config=recipe, module_filter_fn=is_converted)


def is_converted(module: nn.Module, name: str) -> bool:
    """Return whether a module multiplies in float8."""
    if not isinstance(module, nn.Linear) or not name.startswith("blocks."):
        return False
    return module.in_features % _MULTIPLE == 0 and module.out_features % _MULTIPLE == 0
