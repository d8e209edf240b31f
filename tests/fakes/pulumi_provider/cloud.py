"""The fake cloud behind the stand-in provider: a folder with one file per resource and a log of calls. It refuses invalid calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.pulumi_provider import resource_rules


class Refused(Exception):  # noqa: N818 returned as the cloud's answer
    """The cloud refuses a call."""


class Cloud:
    """The existing resources, on disk, so that they outlive the provider process."""

    def __init__(self, folder: Path, fail_create: int) -> None:
        self._folder, self._fail_create, self._creates, self._lock = folder, fail_create, 0, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def log(self, call: str, urn: str, **more: Any) -> None:
        """Record a call for the tests."""
        with self._lock, (self._folder / "calls.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"call": call, "urn": urn, **more}) + "\n")

    def create(self, token: str, urn: str, inputs: Mapping[str, Any], outputs: dict[str, Any], made_id: str) -> None:
        """Create a resource. Raises Refused if its name exists, for inputs that its service refuses, or if this create must fail."""
        with self._lock:
            self._creates += 1
            if self._creates == self._fail_create:
                raise Refused(f"RequestLimitExceeded: create number {self._creates} ({urn.rpartition('::')[2]}): Request limit exceeded.")
            if self._file(token, made_id).exists():
                raise Refused(f"EntityAlreadyExists: there is already a {token} {made_id}")
            if self._tombstone(token, made_id).exists():
                raise Refused(f"FailedPrecondition: {made_id} was deleted and its id is blocked for up to 37 days")
            self._refuse_by_rules(token, inputs)
            self._write(token, made_id, urn, inputs, outputs)

    def update(self, token: str, urn: str, inputs: Mapping[str, Any], outputs: dict[str, Any], made_id: str) -> None:
        """Change a resource. Raises Refused if it does not exist, or for inputs that its service refuses."""
        with self._lock:
            if not self._file(token, made_id).exists():
                raise Refused(f"NotFound: no {token} {made_id}")
            self._refuse_by_rules(token, inputs)
            old = json.loads(self._file(token, made_id).read_text(encoding="utf-8"))["inputs"]
            for message in resource_rules.of(token).change_refusals(token, old, inputs):
                raise Refused(f"{token}: {message}")
            self._write(token, made_id, urn, inputs, outputs)

    def read(self, token: str, made_id: str) -> dict[str, Any] | None:
        """Return a resource, or None."""
        file = self._file(token, made_id)
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None

    def delete(self, token: str, made_id: str) -> None:
        """Delete a resource. Raises Refused while another resource refers to it, so that a wrong order of deletes fails."""
        with self._lock:
            file = self._file(token, made_id)
            if not file.exists():
                raise Refused(f"NotFound: no {token} {made_id}")
            if answer := resource_rules.of(token).undeletable.get(token):
                raise Refused(answer)
            if token in resource_rules.of(token).held:
                for other in self._folder.glob("*.json"):
                    document = json.loads(other.read_text(encoding="utf-8"))
                    holds = document["type"] not in resource_rules.of(token).holds_nothing
                    if other != file and holds and made_id in set(leaves(document["inputs"])):
                        raise Refused(f"DependencyViolation: {made_id} is in use by {document['urn']}")
            file.unlink()
            if token in resource_rules.of(token).blocked:
                self._tombstone(token, made_id).touch()

    def _refuse_by_rules(self, token: str, inputs: Mapping[str, Any]) -> None:
        for message in resource_rules.of(token).refusals(token, inputs, self._inputs_of):
            raise Refused(f"{token}: {message}")

    def _inputs_of(self, made_id: str) -> dict[str, Any] | None:
        documents = (json.loads(file.read_text(encoding="utf-8")) for file in self._folder.glob("*.json"))
        return next((dict(document["inputs"]) for document in documents if document["id"] == made_id), None)

    def _write(self, token: str, made_id: str, urn: str, inputs: Mapping[str, Any], outputs: dict[str, Any]) -> None:
        document = {"type": token, "id": made_id, "urn": urn, "inputs": inputs, "outputs": outputs}
        self._file(token, made_id).write_text(json.dumps(document), encoding="utf-8")

    def _tombstone(self, token: str, made_id: str) -> Path:
        return self._file(token, made_id).with_suffix(".deleted")

    def _file(self, token: str, made_id: str) -> Path:
        return self._folder / f"{resource_rules.digits(token, made_id)}.json"


def leaves(value: Any) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield value
