"""A resource's recorded inputs as JSON, with marks in place of unknown values and secrets."""

from __future__ import annotations

from collections.abc import Mapping

from pulumi.runtime import rpc
from pydantic import JsonValue

__all__ = ["marked_inputs"]

_PROTOBUF = rpc.struct_pb2  # type: ignore[attr-defined]  # this room imports protobuf through pulumi alone
_SIGNATURE = rpc._special_sig_key  # a mapping with this key is a special value: pulumi/sdk/python/lib/pulumi/runtime/rpc.py
_MARKS = {
    rpc._special_secret_sig: "$secret",
    rpc._special_asset_sig: "$asset",
    rpc._special_archive_sig: "$archive",
    rpc._special_resource_sig: "$resource",
}


def marked_inputs(inputs: Mapping[str, object]) -> dict[str, JsonValue]:
    """Return a request's inputs (a protobuf Struct) by name.

    {"$unknown": true} stands for a value that is not known before `pulumi up`, {"$secret": true} for a secret. {"$asset": …},
    {"$archive": …} and {"$resource": …} contain an asset, an archive or a reference to a resource.
    """
    return {name: _marked(value) for name, value in sorted(inputs.items())}


def _marked(value: object) -> JsonValue:
    if value == rpc.UNKNOWN:
        return {"$unknown": True}
    if isinstance(value, _PROTOBUF.ListValue):
        return [_marked(entry) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # protobuf has no integers
    if not isinstance(value, _PROTOBUF.Struct):
        return value if isinstance(value, str | float | bool) else None
    mark = _MARKS.get(str(value.fields[_SIGNATURE].string_value)) if _SIGNATURE in value.fields else None
    if mark == "$secret":
        return {mark: True}
    plain: JsonValue = {key: _marked(entry) for key, entry in sorted(value.items()) if key != _SIGNATURE}
    return {mark: plain} if mark else plain
