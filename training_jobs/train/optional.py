"""The optional packages in one table. They are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from .config import ConfigError

OPTIONAL = {
    "matplotlib": "matplotlib",  # loss curve and confusion matrix as PNG
    "tensorboard": "tensorboard",  # TensorBoard files, through torch.utils.tensorboard
    "torchao": "torchao",  # float8=
    "wandb": "wandb",  # sinks=wandb
    "mlflow": "mlflow",  # sinks=mlflow; on Azure ML azureml-mlflow too
    "tokenizers": "tokenizers",  # prepare and generate with a tokenizer file
    "PIL": "pillow",  # prepare from a folder of images
    "sklearn": "scikit-learn",  # data=digits
}


def import_optional(module: str) -> Any | None:
    """Import a module of an optional package; None if it is not installed."""
    if module.split(".")[0] not in OPTIONAL:
        raise LookupError(f"{module} is not in the table of optional packages")
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def require_optional(module: str, why: str) -> Any:
    """Import a module of an optional package. If it is not installed, raise ConfigError with the pip command."""
    found = import_optional(module)
    if found is None:
        raise ConfigError(f"{why} needs a package that is not installed; fix: pip install {OPTIONAL[module.split('.')[0]]}")
    return found
