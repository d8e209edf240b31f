"""JSON documents of a run bucket: every content gives a bounded document or none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.bucket_documents import MAX_BYTES, parse_document


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b"\xff\xfe{}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 4095,
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        json.dumps({str(number): number for number in range(30_000)}).encode(),
        b'{"a": "' + b"x" * MAX_BYTES + b'"}',
    ],
    ids=["empty", "list", "number", "null", "utf-16", "huge integer", "cut", "deep", "many", "large"],
)
def test_anything_but_a_bounded_object_is_no_document(data: bytes) -> None:
    assert parse_document(data) is None


def test_values_become_plain() -> None:
    nested: object = "end"
    for _ in range(100):
        nested = [nested]
    document = json.dumps({"big": 2**70, "huge": 2**2000, "text": "\ud800", "nested": nested, "ok": [1, None, True]}).encode()
    found = parse_document(document) or {}
    assert (found["big"], found["huge"], found["text"], found["ok"]) == (float(2**70), float("inf"), "?", [1, None, True])
    assert json.dumps(found["nested"]).count("[") < 40


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise(data: bytes) -> None:
    parse_document(data)
