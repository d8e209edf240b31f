"""Services by the `kind` of their target, loaded on use."""

from __future__ import annotations

from importlib import import_module

from ..target import JobTarget
from .base import Backend

_MODULES = {"local": "local", "batch": "aws_batch", "sagemaker": "sagemaker", "vertex": "vertex", "azureml": "azureml"}


def load_backend(target: JobTarget) -> Backend:
    """The backend of a target, with the service's ordinary clients."""
    module = import_module(f".{_MODULES[target.kind]}", __name__)
    backend: Backend = module.Backend(target)
    return backend
