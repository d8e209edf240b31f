"""Classifies images with an exported ResNet: `python -m gpuyard.training_jobs.train.predict model=URL image.png ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from . import export
from .config import ConfigError
from .prepare import read_image


@torch.no_grad()
def predict(model: Any, images: npt.NDArray[np.uint8]) -> tuple[list[int], list[float]]:
    """Return the likeliest class of each image (uint8, channels last) and its probability."""
    device = next(model.parameters()).device
    probabilities, classes = model.logits(torch.from_numpy(images).to(device)).softmax(1).max(1)
    return classes.tolist(), probabilities.tolist()


def main(words: list[str]) -> int:
    """Print the class of each image. Returns an exit code."""
    urls = [word.removeprefix("model=") for word in words if word.startswith("model=")]
    paths = [Path(word) for word in words if not word.startswith("model=")]
    if len(urls) != 1 or not paths:
        print("usage: python -m gpuyard.training_jobs.train.predict model=URL IMAGE...", file=sys.stderr)
        return 64
    try:
        model, config, index = export.load(urls[0])
        if config.task != "resnet":
            raise ConfigError(
                f"model: got {urls[0]}, a {config.task}, allowed: a resnet; fix: python -m gpuyard.training_jobs.train.generate"
            )
        classes, probabilities = predict(model, np.stack([read_image(path, index.shape) for path in paths]))
    except (ConfigError, OSError) as error:
        print(f"predict: {error}", file=sys.stderr)
        return 64
    for path, found, probability in zip(paths, classes, probabilities, strict=True):
        print(f"{path}  {index.classes[found] if index.classes else found}  {probability:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
