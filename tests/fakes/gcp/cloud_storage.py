"""Fake of Google Cloud Storage's JSON API for stores and file systems: generations, preconditions, uploads, pages.

Google's client and gcsfs find it through STORAGE_EMULATOR_HOST.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any
from urllib.parse import unquote

import google_crc32c

from tests.fakes.gcp.http_service import Answer, Call, FakeHttp, Json, RefusalError, answer

_CHUNK = 256 * 1024  # of a resumable upload, every part but the last
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")


@dataclass(frozen=True)
class Object:
    """One version of an object."""

    bucket: str
    name: str
    data: bytes
    generation: int
    metadata: dict[str, str] = field(default_factory=dict)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def hashes(self) -> dict[str, str]:
        """Its checksums as the API reports them."""
        crc = base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()
        md5 = base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()
        return {"crc32c": crc, "md5Hash": md5}

    @property
    def resource(self) -> Json:
        """The API's resource of the object."""
        at = self.at.isoformat().replace("+00:00", "Z")
        return {
            "kind": "storage#object", "id": f"{self.bucket}/{self.name}/{self.generation}", "name": self.name, "bucket": self.bucket,
            "generation": str(self.generation), "metageneration": "1", "size": str(len(self.data)), "metadata": self.metadata,
            "contentType": "application/octet-stream", "storageClass": "STANDARD", "timeCreated": at, "updated": at,
            "etag": f"etag-{self.generation}", **self.hashes,
        }  # fmt: skip


class FakeStorage(FakeHttp):
    """Buckets in memory. `page`: maximum number of objects in one page of a listing."""

    def __init__(self, *buckets: str, page: int = 1000) -> None:
        super().__init__()
        self.buckets: dict[str, dict[str, Object]] = {name: {} for name in buckets}
        self.page = page
        self._generations = itertools.count(1_700_000_000_000_000)
        self._uploads: dict[str, tuple[str, Json, str | None, bytearray]] = {}
        self._finished: dict[str, Json] = {}

    def put(self, bucket: str, name: str, data: bytes, metadata: dict[str, str] | None = None, condition: str | None = None) -> Object:
        """Write an object. `condition`: the generation that the object must have; 0 = the object must not exist."""
        with self.lock:
            objects = self._objects(bucket)
            existing = objects.get(name)
            if condition is not None and int(condition) != (existing.generation if existing else 0):
                raise RefusalError(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")
            objects[name] = Object(bucket, name, data, next(self._generations), metadata or {})
            return objects[name]

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that uses it."""
        return {"STORAGE_EMULATOR_HOST": self.url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "NO_GCE_CHECK": "true"}

    def serve(self, call: Call) -> Answer:
        """Route a request to its handler."""
        if call.path.startswith("/upload-session/"):
            return self._resume(call)
        if found := _UPLOAD.fullmatch(call.path):
            return self._upload(call, unquote(found[1]))
        if found := _LIST.fullmatch(call.path):
            return self._list(call, unquote(found[1]))
        if found := _OBJECT.fullmatch(call.path):
            return self._object(call, unquote(found[1]), unquote(found[2]))
        if found := _BUCKET.fullmatch(call.path):
            self._objects(unquote(found[1]))
            return answer({"kind": "storage#bucket", "name": unquote(found[1]), "location": "US", "locationType": "multi-region"})
        raise RefusalError(404, f"this fake has no {call.method} {call.path}", "notFound")

    def _objects(self, bucket: str) -> dict[str, Object]:
        if bucket not in self.buckets:
            raise RefusalError(404, "The specified bucket does not exist.", "notFound")
        return self.buckets[bucket]

    def _object(self, call: Call, bucket: str, name: str) -> Answer:
        with self.lock:
            found = self._objects(bucket).get(name)
            if found is None:
                raise RefusalError(404, f"No such object: {bucket}/{name}", "notFound")
            wanted = call.query.get("ifGenerationMatch", call.query.get("generation"))
            if wanted is not None and int(wanted) != found.generation:
                raise RefusalError(412 if "ifGenerationMatch" in call.query else 404, "conditions not met", "conditionNotMet")
            if call.method == "DELETE":
                del self.buckets[bucket][name]
                return Answer(204)
        if call.query.get("alt") != "media":
            return answer(found.resource)
        return _media(found, call.headers.get("Range", call.headers.get("range")))

    def _list(self, call: Call, bucket: str) -> Answer:
        prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
        size = min(int(call.query.get("maxResults") or self.page), self.page)
        with self.lock:
            objects = dict(self._objects(bucket))
        entries: dict[str, Object | None] = {}
        for name in sorted(objects):
            if name.startswith(prefix):
                head, cut, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
                entries[prefix + head + delimiter if cut else name] = None if cut else objects[name]
        after = call.query.get("pageToken", "")
        left = [name for name in entries if name > after]
        names = left[:size]
        found: Json = {"kind": "storage#objects"}
        if items := [item.resource for name in names if (item := entries[name]) is not None]:
            found["items"] = items
        if prefixes := [name for name in names if entries[name] is None]:
            found["prefixes"] = prefixes
        if len(left) > size:
            found["nextPageToken"] = names[-1]
        return answer(found)

    def _upload(self, call: Call, bucket: str) -> Answer:
        condition = call.query.get("ifGenerationMatch")
        if call.query.get("uploadType") == "resumable":
            document = json.loads(call.body or b"{}")
            document.setdefault("name", call.query.get("name"))
            session = f"/upload-session/{len(self._uploads)}"
            self._objects(bucket)
            self._uploads[session] = (bucket, document, condition, bytearray())
            return Answer(200, b"", {"Location": f"{self.url}{session}?upload_id=secret"})
        if call.query.get("uploadType") == "multipart":
            document, data = _multipart(call)
            return answer(self._written(bucket, document, data, condition))
        raise RefusalError(400, "uploadType is not known here", "invalid")

    def _resume(self, call: Call) -> Answer:
        if call.path in self._finished:
            return answer(self._finished[call.path])
        bucket, document, condition, so_far = self._uploads[call.path]
        if call.method == "DELETE":
            return Answer(499)
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", call.headers.get("Content-Range", call.headers.get("content-range", "")))
        if span is None:
            raise RefusalError(400, "Content-Range is missing or malformed", "badRequest")
        if span[1] is not None:
            if int(span[1]) != len(so_far) or int(span[2]) - int(span[1]) + 1 != len(call.body):
                raise RefusalError(400, "the part does not follow the last one", "badRequest")
            so_far += call.body
        if span[3] == "*" or len(so_far) < int(span[3]):
            if len(call.body) % _CHUNK:
                raise RefusalError(400, "a part that is not the last must be a multiple of 256 KiB", "badRequest")
            return Answer(308, b"", {"Range": f"bytes=0-{len(so_far) - 1}"} if so_far else {})
        self._finished[call.path] = self._written(bucket, document, bytes(so_far), condition)
        return answer(self._finished[call.path])

    def _written(self, bucket: str, document: Json, data: bytes, condition: str | None) -> Json:
        unknown = set(document) - {"name", "metadata", "contentType", "crc32c", "md5Hash"}
        if unknown or not document.get("name"):
            raise RefusalError(400, f"object resource: {unknown or 'no name'}", "invalid")
        return self.put(bucket, document["name"], data, document.get("metadata"), condition).resource


def _multipart(call: Call) -> tuple[Json, bytes]:
    """Split a multipart/related upload into its two parts."""
    kind = call.headers.get("Content-Type", call.headers.get("content-type", ""))
    boundary = BytesParser().parsebytes(f"Content-Type: {kind}\n\n".encode()).get_param("boundary")
    if not isinstance(boundary, str):
        raise RefusalError(400, "no boundary", "invalid")
    _, first, second = call.body.split(b"--" + boundary.encode(), 2)
    document = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])
    data = re.split(rb"\r?\n\r?\n", second, maxsplit=1)[1].rpartition(b"--" + boundary.encode() + b"--")[0]
    return document, data[:-2] if data.endswith(b"\r\n") else data.removesuffix(b"\n")


def _media(found: Object, span: str | None) -> Answer:
    hashes = found.hashes
    headers = {
        "Content-Type": "application/octet-stream", "X-Goog-Generation": str(found.generation), "X-Goog-Metageneration": "1",
        "X-Goog-Hash": f"crc32c={hashes['crc32c']},md5={hashes['md5Hash']}", "X-Goog-Stored-Content-Length": str(len(found.data)),
        "X-Goog-Stored-Content-Encoding": "identity",
    }  # fmt: skip
    if span is None:
        return Answer(200, found.data, headers)
    requested: Any = re.fullmatch(r"bytes=(\d*)-(\d*)", span)
    size = len(found.data)
    first = int(requested[1]) if requested[1] else max(0, size - int(requested[2]))
    last = min(int(requested[2]), size - 1) if requested[1] and requested[2] else size - 1
    if first >= size:
        raise RefusalError(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable")
    return Answer(206, found.data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{size}"})
