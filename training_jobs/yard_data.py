"""Data in the buckets of a yard: checks that a job's data exists, and lists the files that `gpuyard upload` sends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..problems import Problem, did_you_mean
from .data_entries import data_urls
from .errors import AuthError, UsageError
from .run import yard_bucket
from .spec import JobSpec
from .store import OnSent, Store, UnreadableError, file_digest, ignore_sent, open_store
from .target import JobTarget

__all__ = ["Destination", "FileToSend", "check_data", "files_to_send", "yard_folder"]


@dataclass(frozen=True)
class Destination:
    """The place for an upload: a store and a path in it."""

    store: Store
    path: str


@dataclass(frozen=True)
class FileToSend:
    """One file to upload. `name`: its path below the destination. Empty if the destination is the path of this one file."""

    file: Path
    name: str

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.file.stat().st_size

    def send(self, to: Destination, on_sent: OnSent = ignore_sent) -> bool:
        """Upload the file. Return False if the object has the same content already. `on_sent`: see Store.send."""
        path = "/".join(part for part in (to.path, self.name) if part)
        return to.store.send(path, self.file, file_digest(self.file), on_sent)


def check_data(spec: JobSpec, target: JobTarget) -> None:
    """Check that an object or a folder exists at each yard:// URL in `data`. Raises UsageError that names every URL without data.

    A bucket that this process may not read is skipped: the role of the job decides.
    """
    problems = [
        Problem(f"data.{name}", "nothing is there", url, fix=f"gpuyard upload PATH {url}, or correct the path")
        for name, url in data_urls(spec.data).items()
        if (bucket := yard_bucket(url)) is not None
        and not _is_there(target.buckets[bucket], url.removeprefix(f"yard://{bucket}").strip("/"))
    ]
    if problems:
        raise UsageError(f"job '{spec.name}' has no data", problems)


def _is_there(bucket: str, path: str) -> bool:
    store = open_store(bucket)
    try:
        return bool(store.names(path, 1)) or (bool(path) and store.exists(path))
    except UnreadableError:  # more than one entry
        return True
    except AuthError:
        return True


def yard_folder(url: str, targets: Mapping[str, JobTarget], source: str) -> Destination:
    """Return the store and the path of a URL yard://BUCKET/PATH. Raises UsageError for a URL of another form or an unknown bucket."""
    buckets = {name: bucket for target in targets.values() for name, bucket in target.buckets.items()}
    bucket = yard_bucket(url)
    path = "" if bucket is None else url.removeprefix(f"yard://{bucket}").strip("/")
    problem = None
    if bucket is None or not path or any(part in {"", ".", ".."} for part in path.split("/")):
        problem = Problem("URL", "not a path in a bucket of the yard", url, "yard://BUCKET/PATH")
    elif bucket not in buckets:
        problem = Problem("URL", f"no such bucket in {source}", bucket, ", ".join(sorted(buckets)) or "none", did_you_mean(bucket, buckets))
    elif path.split("/")[0] == "gpuyard":
        problem = Problem("URL", "gpuyard/ is reserved for the records and results of runs", url, "another path of the bucket")
    if problem is not None:
        raise UsageError("nothing was sent", [problem])
    return Destination(open_store(buckets[str(bucket)]), path)


def files_to_send(source: Path, url: str) -> tuple[list[FileToSend], list[str]]:
    """Return the files to send, sorted, and a line for each entry that is not sent: links and files that are not regular.

    A single file gets the URL's own path, or its own name below a URL that ends in `/`. Raises UsageError if there is nothing to send.
    """
    if source.is_symlink():
        raise UsageError("nothing was sent", [Problem("PATH", "a link", str(source), "a file or folder", "pass the path of its target")])
    if source.is_file():
        return [FileToSend(source, source.name if url.endswith("/") else "")], []
    found, left_out = list[FileToSend](), list[str]()
    for parent, folders, names in os.walk(source, onerror=_refuse):
        folders.sort()
        for name in sorted([*names, *(each for each in folders if (Path(parent) / each).is_symlink())]):
            file = Path(parent) / name
            relative = file.relative_to(source).as_posix()
            if file.is_symlink() or not file.is_file():
                left_out.append(f"{relative}: {'a link' if file.is_symlink() else 'not a regular file'}")
            elif not _is_unicode(relative):
                left_out.append(f"{relative}: its name is not UTF-8")
            else:
                found.append(FileToSend(file, relative))
    if not found:
        raise UsageError("nothing was sent", [Problem("PATH", "no file to send", str(source), "a file, or a folder with files")])
    return found, left_out


def _refuse(error: OSError) -> None:
    raise UsageError("nothing was sent", [Problem("PATH", error.strerror or str(error), str(error.filename))])


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
