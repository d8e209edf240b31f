"""Saves and loads a run's tensors with torch.distributed.checkpoint (DCP) as safetensors, for any number of ranks.

torch decides which rank writes which tensor, and which parts each rank reads when the number of ranks has changed. This module
defines the files: safetensors and one JSON marker. So loading a checkpoint executes no code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as save_state
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from . import tensor_file
from .checkpoint_store import CheckpointStore, Commit, Marker, SupersededError

State = dict[str, Tensor]  # tensors by name, whole or sharded
_FILE_BYTES = 2**28  # limit, because an object store's client gets a copy of a whole file, made while Python's lock is held
_THREADS = 4


class StorageError(Exception):
    """Storage failed. Earlier checkpoints are intact."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"cannot save step {step}: {reason}")
        self.step, self.reason = step, reason


class CheckpointSaver:
    """Saves states. A synchronous save blocks; an asynchronous save copies the state to host memory and writes it during training."""

    def __init__(self, checkpoints: CheckpointStore, asynchronous: bool) -> None:
        self._checkpoints, self._async = checkpoints, asynchronous
        self._group: Any = dist.new_group(backend="gloo")  # so that the saver's thread does not mix with the loop's collectives
        self._pending: tuple[int, Any] | None = None
        on_gpu = torch.cuda.is_available()
        options = StagingOptions(use_pinned_memory=on_gpu, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=on_gpu)
        self._stager = DefaultStager(options) if asynchronous else None
        self.blocked_s: list[float] = []  # seconds that each save blocked the loop
        self.waited_s = 0.0  # part of the last `blocked_s`: the wait for the previous save
        self.duration_s: float | None = None  # the last save, from start to commit

    @property
    def writing(self) -> int | None:
        """The step whose save is still being written on this rank."""
        return self._pending[0] if self._pending is not None and not self._pending[1].done() else None

    def save(self, step: int, state: State, notes: Marker, wait: bool = False) -> None:
        """Save a state. Raises SupersededError or StorageError on all ranks, also for a failure of the previous save."""
        began = time.monotonic()
        self.finish()
        written_from = time.monotonic()
        self.waited_s = written_from - began
        writer = _Writer(self._checkpoints, step, notes)
        if self._stager is not None and not wait:
            written = async_save(state, storage_writer=writer, process_group=self._group, async_stager=self._stager)
            self._pending = step, written
            written.add_done_callback(lambda _: self._set_duration(written_from))  # type: ignore[union-attr]  # a future, with this stager
        else:
            self._run_and_translate(step, lambda: save_state(state, storage_writer=writer, process_group=self._group))
            self._set_duration(written_from)
        self.blocked_s.append(time.monotonic() - began)

    def finish(self) -> None:
        """Wait for the save that is being written."""
        if self._pending is not None:
            (step, written), self._pending = self._pending, None
            self._run_and_translate(step, written.result)

    def close(self) -> None:
        """Free the host memory of asynchronous saves."""
        if self._stager is not None:
            self._stager.close()

    def _set_duration(self, written_from: float) -> None:
        self.duration_s = time.monotonic() - written_from

    def _run_and_translate(self, step: int, act: Callable[[], object]) -> None:
        """Run a save. Translate torch's errors to SupersededError or StorageError."""
        try:
            act()
        except CheckpointException as error:
            causes = [cause for cause, _ in error.failures.values()]
            newer = next((cause for cause in causes if isinstance(cause, SupersededError)), None)
            if newer is not None:
                raise newer from None
            failed = next((cause for cause in causes if isinstance(cause, OSError)), None)
            if failed is None:
                raise
            raise StorageError(step, failed.strerror or str(failed)) from None


def load_checkpoint(checkpoints: CheckpointStore, commit: Commit, marker: Marker, state: State) -> None:
    """Load a checkpoint into a state's tensors. All ranks call this. If a file is damaged, raise ValueError on all ranks."""
    try:
        load_state(state, storage_reader=_Reader(checkpoints, commit, marker))
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        raise ValueError(str(cause)) from None


class _Writer(StorageWriter):
    def __init__(self, checkpoints: CheckpointStore, step: int, notes: Marker) -> None:
        self._checkpoints, self._step, self._notes = checkpoints, step, notes

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        pass

    def set_up_storage_writer(self, is_coordinator: bool, *_args: Any, **_more: Any) -> None:
        pass

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        self._checkpoints.check_fence()
        return [replace(plan, storage_data=rank) for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        def write(numbered: tuple[int, list[Any]]) -> list[WriteResult]:
            number, items = numbered
            parts: list[tuple[str, Any]] = [(_key(item.index), planner.resolve_data(item)) for item in items]
            tensors = {key: part.detach().cpu().contiguous() for key, part in parts}
            pieces = tensor_file.encode(tensors)
            file = f"state-{self._checkpoints.attempt}-{plan.storage_data}-{number}.safetensors"
            self._checkpoints.put(self._step, file, pieces)
            stored = {"file": file, "sha256": tensor_file.sha256(pieces), "bytes": sum(piece.nbytes for piece in pieces)}
            return [WriteResult(item.index, tensors[_key(item.index)].nbytes, stored) for item in items]

        with ThreadPoolExecutor(_THREADS) as pool:
            results = [result for part in pool.map(write, enumerate(_grouped(plan.items))) for result in part]
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        written = {_key(result.index): result.storage_data for part in results for result in part}
        tensors = {}
        for name, about in metadata.state_dict_metadata.items():
            chunks = about.chunks  # type: ignore[union-attr]
            parts = [(list(chunk.offsets), list(chunk.sizes)) for chunk in chunks]
            files = [written[_key(MetadataIndex(name, offsets))]["file"] for offsets, _ in parts]
            dtype = str(about.properties.dtype).removeprefix("torch.")  # type: ignore[union-attr]
            tensors[name] = {"dtype": dtype, "shape": list(about.size), "chunks": list(zip(parts, files, strict=True))}  # type: ignore[union-attr]
        digests = {part["file"]: {"sha256": part["sha256"], "bytes": part["bytes"]} for part in written.values()}
        self._checkpoints.commit(self._step, {**self._notes, "files": digests, "tensors": tensors})

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


class _Reader(StorageReader):
    def __init__(self, checkpoints: CheckpointStore, commit: Commit, marker: Marker) -> None:
        self._checkpoints, self._commit, self._marker = checkpoints, commit, marker
        self._file_of: dict[str, str] = {}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        pass

    def read_metadata(self, *_args: Any, **_more: Any) -> Metadata:
        tensors: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
        for name, about in self._marker["tensors"].items():
            chunks = [ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)) for (offsets, sizes), _ in about["chunks"]]
            self._file_of |= {_key(MetadataIndex(name, offsets)): file for (offsets, _), file in about["chunks"]}
            dtype = getattr(torch, about["dtype"])
            tensors[name] = TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(about["shape"]), chunks)
        return Metadata(tensors)

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *_args: Any, **_more: Any) -> None:
        if not self._file_of:  # this rank got the metadata from the coordinator
            self.read_metadata()

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        per_file: dict[str, list[Any]] = {}
        for item in plan.items:
            per_file.setdefault(self._file_of[_key(item.storage_index)], []).append(item)
        for file, items in sorted(per_file.items()):
            tensors = load(self._checkpoints.read(self._commit.step, file, self._marker["files"][file]["sha256"]))
            for item in items:
                source: Tensor = tensors[_key(item.storage_index)]
                for dim, (offset, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
                    source = source.narrow(dim, offset, length)
                target = planner.resolve_tensor(item).detach()
                target.copy_(source)
                planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return True


def _key(index: MetadataIndex) -> str:
    return f"{index.fqn}@{','.join(str(offset) for offset in index.offset or ())}"


def _grouped(items: list[Any]) -> Iterator[list[Any]]:
    """Group the items into files of limited size, with at least one item each."""
    group: list[Any] = []
    size = 0
    for item in items:
        data = item.tensor_data
        length = data.chunk.sizes.numel() * data.properties.dtype.itemsize
        if group and size + length > _FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group
