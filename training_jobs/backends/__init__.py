"""Services by the `kind` of their target, loaded on use."""

from __future__ import annotations

from importlib import import_module

from ..target import JobTarget
from .base import Backend

_BACKENDS = {
    "local": ("local", "LocalBackend"),
    "batch": ("aws_batch", "BatchBackend"),
    "sagemaker": ("sagemaker", "SageMakerBackend"),
    "vertex": ("vertex", "VertexBackend"),
    "azureml": ("azureml", "AzureMLBackend"),
}


def load_backend(target: JobTarget) -> Backend:
    """The backend of a target, with the service's ordinary clients."""
    module, name = _BACKENDS[target.kind]
    backend: Backend = getattr(import_module(f".{module}", __name__), name)(target)
    return backend
