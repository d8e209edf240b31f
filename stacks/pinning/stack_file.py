"""Edits the text of a stack file or a job file to pin images; comments, order and quotes stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from gpuyard.training_jobs.errors import UsageError

__all__ = ["image_of", "with_image", "with_pins"]

_KEY = "gpuyard:pins"
_SHORT = "pins"  # the same key in a project named gpuyard
_HEAD = f"{_KEY}: # written by `gpuyard pin`; review it like a lock file"


def with_pins(text: str, project: str, machine_images: Mapping[str, str], job_image: str | None) -> str:
    """Return the stack file's text with exactly these pins. Remove the key if there are no pins.

    Raises UsageError if the file's `config` is not a block mapping.
    """
    lines = _lines(machine_images, job_image)
    config = _config(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    if config is None:
        head = text if not text or text.endswith("\n") else text + newline
        return head + "".join(f"{line}{newline}" for line in ["config:", *_indented(lines, 2)]) if lines else text
    key_names = {_KEY, _SHORT} if project == "gpuyard" else {_KEY}
    found = next(((key, value) for key, value in config.value if key.value in key_names), None)
    indent = config.value[0][0].start_mark.column
    block = newline.join(_indented(lines, indent))
    if found is not None:
        start, end = _line_start(text, found[0].start_mark.index), _line_end(text, _end(found[1]))
        if not block:
            end = _after_newline(text, end)
        return text[:start] + block + text[end:]
    end = _line_end(text, _end(config))
    return text[:end] + newline + block + text[end:] if block else text


def image_of(text: str) -> str | None:
    """Return the image that a job file names; None if it names no image. Raises UsageError for a file that is not a job file."""
    node = _image(text)
    return None if node is None else str(node.value)


def with_image(text: str, image: str) -> str:
    """Return the job file's text with a new image and the same quotes. Raises ValueError if the file names no image."""
    node = _image(text)
    if node is None:
        raise ValueError("the file names no image")
    quote = node.style if node.style in ("'", '"') else ""
    return text[: node.start_mark.index] + quote + image + quote + text[node.end_mark.index :]


def _image(text: str) -> yaml.ScalarNode | None:
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"the job file is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(root, yaml.MappingNode):
        raise UsageError("the job file is not a mapping; write `key: value` lines")
    found = [value for key, value in root.value if key.value == "image"]
    if len(found) > 1:
        raise UsageError("the job file has the key image twice; remove one")
    node = found[0] if found else None
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
        raise UsageError("image: the job file's value is not a plain string on one line; write `image: NAME:TAG`")
    return node


def _lines(machine_images: Mapping[str, str], job_image: str | None) -> list[str]:
    images = [f"    {pool}: {image}" for pool, image in sorted(machine_images.items())]
    body = [*(["  machine_images:", *images] if images else []), *([f"  job_image: {job_image}"] if job_image else [])]
    return [_HEAD, *body] if body else []


def _indented(lines: list[str], indent: int) -> list[str]:
    return [" " * indent + line for line in lines]


def _config(text: str) -> yaml.MappingNode | None:
    """Return the YAML node of `config`; None if the file has none."""
    root: Any = yaml.compose(text)
    pairs = [] if root is None else root.value
    node = next((value for key, value in pairs if key.value == "config"), None)
    if node is None:
        return None
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise UsageError("config: is not a block mapping, so the pins cannot be inserted; write one key per line")
    return node


def _end(node: yaml.Node) -> int:
    """Return the index of the end of a node's last value. PyYAML's end mark of a block is too late: after the comments below the block."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        index = int(node.end_mark.index)
        return index - 1 if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else index
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """Return the index where the line ends, without its line break."""
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[:end].endswith("\r") else end


def _after_newline(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1
