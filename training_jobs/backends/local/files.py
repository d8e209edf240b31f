"""What lies in a pool's directory: JSON objects that are replaced as a whole, and places in the queue."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import LostSightError


class Ticket(NamedTuple):
    """A place in the queue. It is all in the file's name, so that a long queue is read with one listing."""

    sequence: int
    expires_at: float  # Unix time; 0 = never
    job: str

    @classmethod
    def read(cls, name: str) -> Ticket:
        """From a file's name."""
        sequence, expires_at, job = name.split("-", 2)
        return cls(int(sequence), float(expires_at), job)

    def __str__(self) -> str:
        return f"{self.sequence:020d}-{self.expires_at:.3f}-{self.job}"


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when there is none. Raises LostSightError for one that cannot be read."""
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise LostSightError(f"{path} cannot be read: {error}; when no job of the pool runs, remove the file") from None
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replace a file as a whole, also for a machine that goes down right after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}-{os.getpid()}"
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
