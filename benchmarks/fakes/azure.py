"""Azure's blobs, jobs and sign-in behind their own names, in a process of its own, answered at once: what is left is the client's own time.

`python -m benchmarks._azure_at_once` prints what a process needs to find it, as JSON, and serves until its input ends.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes.azure.entra import FakeEntra
from tests.fakes.azure.https_proxy import Door
from tests.fakes.azure.https_service import Answer, FakeHttps

_MISSING = Answer(404, b"<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>", {"x-ms-error-code": "BlobNotFound"})
_BEATEN = Answer(412, b"<?xml version='1.0'?><Error><Code>ConditionNotMet</Code></Error>", {"x-ms-error-code": "ConditionNotMet"})


class _AtOnce(FakeHttps):
    """A store of blobs and of resources by their paths."""

    def __init__(self) -> None:
        super().__init__()
        self._blobs: dict[str, tuple[bytes, str]] = {}
        self.asked: list[str] = []

    def serve(self, verb: str, host: str, target: str, headers: Mapping[str, str], raw: bytes) -> Answer | None:
        """One call."""
        path = target.partition("?")[0]
        if path == "/calls":
            return Answer(200, self.asked)
        self.asked.append(f"{verb} {path}")
        if host == "management.azure.com":
            properties: dict[str, Any] = {**json.loads(raw or b"{}").get("properties", {}), "status": "NotStarted"}
            return Answer(201, {"id": path, "name": path.rpartition("/")[2], "type": "x", "properties": properties})
        return self._blob(verb, path, headers, raw)

    def _blob(self, verb: str, path: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        there = self._blobs.get(path)
        if verb in {"GET", "HEAD"}:
            if there is None:
                return _MISSING
            size = len(there[0])
            told = {
                "ETag": there[1],
                "Content-Range": f"bytes 0-{size - 1}/{size}",
                "x-ms-blob-type": "BlockBlob",
                "Content-Length": str(size),
            }
            return Answer(206 if verb == "GET" else 200, there[0], {**told, "Last-Modified": "Sun, 22 Nov 2026 03:00:00 GMT"})
        wanted = headers.get("If-Match")
        if (there and headers.get("If-None-Match")) or (wanted and (there is None or there[1] != wanted)):
            return _BEATEN
        etag = f'"{hashlib.md5(raw, usedforsecurity=False).hexdigest()}"'
        self._blobs[path] = raw, etag
        return Answer(201, b"", {"ETag": etag, "Last-Modified": "Sun, 22 Nov 2026 03:00:00 GMT"})


def main() -> None:
    """Serve until whoever started it goes."""
    with _AtOnce() as server, FakeEntra() as entra, tempfile.TemporaryDirectory() as folder:
        leads = {"login.microsoftonline.com": entra.server_port, "management.azure.com": server.server_port}
        with Door({**leads, ".blob.core.windows.net": server.server_port}) as door:
            found = {**door.environment(), **entra.environment(Path(folder)), "CALLS": f"https://127.0.0.1:{server.server_port}/calls"}
            print(json.dumps(found), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
