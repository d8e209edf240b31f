"""The services that run jobs. `load_backend` imports a target's backend when it is first used."""

from __future__ import annotations

from importlib import import_module

from ..target import JobTarget
from .base import Backend

__all__ = ["load_backend"]

_BACKENDS = {
    "local": ("local", "LocalBackend"),
    "batch": ("aws_batch", "BatchBackend"),
    "sagemaker": ("sagemaker", "SageMakerBackend"),
    "vertex": ("vertex", "VertexBackend"),
    "azureml": ("azureml", "AzureMLBackend"),
    "slurm": ("slurm", "SlurmBackend"),
}


def load_backend(target: JobTarget) -> Backend:
    """Return the backend of a target, with this process's clients of the service."""
    module, name = _BACKENDS[target.kind]
    backend: Backend = getattr(import_module(f".{module}", __name__), name)(target)
    return backend
