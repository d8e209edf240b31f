"""The packages that make some things nicer and that nothing else needs: one table, imported on use."""

from __future__ import annotations

import importlib
from typing import Any

from .config import ConfigError

OPTIONAL = {
    "matplotlib": "matplotlib",  # the curves and the confusion matrix as PNG
    "tensorboard": "tensorboard",  # torch.utils.tensorboard writes its files
    "tokenizers": "tokenizers",  # prepare and generate with a tokenizer's file
    "PIL": "pillow",  # prepare from a folder of images
    "sklearn": "scikit-learn",  # data=digits
}


def get(module: str) -> Any | None:
    """A module of the table's packages; None when it is not installed."""
    if module.split(".")[0] not in OPTIONAL:
        raise LookupError(f"{module} is not in the table of optional packages")
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def need(module: str, why: str) -> Any:
    """The same; raises ConfigError with the fix when it is not installed."""
    found = get(module)
    if found is None:
        raise ConfigError(f"{why} needs a package that is not installed. fix: pip install {OPTIONAL[module.split('.')[0]]}")
    return found
