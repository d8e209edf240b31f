"""A stand-in for the clouds' provider plug-ins, without an account: the real engine uses it, and it checks every property strictly.

Settings are environment variables. GPUYARD_STANDIN_CLOUD is the folder that is its cloud (one file per resource, and calls.jsonl).
GPUYARD_STANDIN_FAIL_CREATE=n makes the n-th create fail, as a throttled or refused call does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

sys.path.insert(0, str(Path(__file__).parents[3]))  # started by its path, so the checkout is not on sys.path
from tests.fakes.pulumi_provider import resource_rules, sdk_check
from tests.fakes.pulumi_provider.cloud import Cloud, Refused, leaves
from tools.engine.orphan import exit_with_parent

MAX_MESSAGE = 400 * 1024 * 1024


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The provider's gRPC service, as the engine calls it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._config: dict[str, Any] = {}

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 the names are the protocol's
        return plugin_pb2.PluginInfo(version="99.0.0")  # the engine warns of a provider that is older than the SDK

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._config = _dict(request.args)
        # Like the real providers: no secrets or output values in messages. The engine marks outputs of secret inputs itself.
        return provider_pb2.ConfigureResponse(supportsPreview=True, supports_autonaming_configuration=True)

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        arguments = _dict(request.args)
        try:
            known = sdk_check.look_up(request.tok)
        except sdk_check.UnknownToken as error:
            _refuse(context, str(error))
        wrong = sorted(set(arguments) - set(known.inputs) - {"region"})
        shape = resource_rules.of(request.tok)
        answers = shape.look_ups
        if not wrong and (token := shape.read_by.get(request.tok)):
            self.cloud.log("Invoke", request.tok, arguments=arguments)
            made_id, _ = shape.made(token, "::", arguments)
            if (found := self.cloud.read(token, made_id)) is None:
                _refuse(context, f"Status=404 Code=ResourceNotFound: no {token} {made_id}")
            return provider_pb2.InvokeResponse(**{"return": _struct({**arguments, **found["outputs"], "id": made_id})})
        if wrong or request.tok not in answers:
            _refuse(
                context, f"{request.tok}: no such argument {', '.join(wrong)}" if wrong else f"the stand-in has no answer to {request.tok}"
            )
        self.cloud.log("Invoke", request.tok, arguments=arguments)
        return provider_pb2.InvokeResponse(**{"return": _struct({**arguments, **answers[request.tok]})})

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        token, news, olds = _token(request.urn), _dict(request.news), _dict(request.olds)
        try:
            found = sdk_check.problems(token, news)
        except sdk_check.UnknownToken as error:
            found = [str(error)]
        failures = [provider_pb2.CheckFailure(property=line.partition(":")[0], reason=f"{token} {line}") for line in found]
        if failures:
            return provider_pb2.CheckResponse(inputs=request.news, failures=failures)
        self.cloud.log("Check", request.urn)
        return provider_pb2.CheckResponse(inputs=_struct(_named(token, request, news, olds)))

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        token, olds, news = _token(request.urn), _dict(request.old_inputs), _dict(request.news)
        changed = [
            key for key in {**olds, **news} if key != "__defaults" and olds.get(key) != news.get(key) and key not in request.ignoreChanges
        ]
        shape = resource_rules.of(token)
        replaces = [key for key in changed if key in shape.fixes(token)]
        name = shape.key(token)
        named_by_us = name in news.get("__defaults", [])
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and name in news and not named_by_us and olds.get(name) == news[name],
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        token, inputs = _token(request.urn), _without_marks(_dict(request.properties))
        if request.preview:
            return provider_pb2.CreateResponse(properties=_struct(_outputs(token, inputs, {})))
        made_id, where = resource_rules.of(token).made(token, request.urn, inputs)
        outputs = _outputs(token, inputs, {**where, "id": made_id})
        if nap := float(os.environ.get("GPUYARD_STANDIN_SLOW_S", "0")):
            time.sleep(nap)
        try:
            _refuse_unknown(inputs)
            if answer := resource_rules.of(token).refused(token, inputs, self._config):
                raise Refused(answer)
            self.cloud.create(token, request.urn, inputs, outputs, made_id)
        except Refused as error:
            self.cloud.log("Failed", request.urn)
            _refuse(context, str(error))
        self.cloud.log("Create", request.urn)
        return provider_pb2.CreateResponse(id=made_id, properties=_struct(outputs))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        token, inputs, olds = _token(request.urn), _without_marks(_dict(request.news)), _dict(request.olds)
        kept = {key: value for key, value in olds.items() if key not in _dict(request.old_inputs)}
        shape = resource_rules.of(token)
        for key in shape.renewed.get(token, ()):
            kept[key] = sdk_check.UNKNOWN if request.preview else _next(olds.get(key))
        kept.pop(shape.all_tags, None)
        outputs = _outputs(token, inputs, {**kept, "id": request.id})
        if not request.preview:
            try:
                _refuse_unknown(inputs)
                self.cloud.update(token, request.urn, inputs, outputs, request.id)
            except Refused as error:
                _refuse(context, str(error))
            self.cloud.log("Update", request.urn)
        return provider_pb2.UpdateResponse(properties=_struct(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = self.cloud.read(_token(request.urn), request.id)
        self.cloud.log("Read", request.urn)
        if found is None:
            return provider_pb2.ReadResponse()
        inputs = request.inputs if request.inputs.fields else _struct(found["inputs"])
        return provider_pb2.ReadResponse(id=request.id, properties=_struct(found["outputs"]), inputs=inputs)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            self.cloud.delete(_token(request.urn), request.id)
        except Refused as error:
            _refuse(context, str(error))
        self.cloud.log("Delete", request.urn)
        return empty_pb2.Empty()


def _named(token: str, request: Any, news: dict[str, Any], olds: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs with the name that the provider generates if the program gave none. A generated name never changes."""
    shape = resource_rules.of(token)
    name = shape.key(token)
    known = sdk_check.resource(token).inputs
    prefix = any(news.get(key) for key in ("namePrefix", "bucketPrefix"))
    if name in news or prefix or name not in known or known[name].kind.word != "str" or known[name].required:
        return {**news, "__defaults": []}
    label = request.urn.rpartition("::")[2]
    generated = resource_rules.digits(request.urn, request.randomSeed.hex())[:7]
    kept = olds.get(name) if name in olds.get("__defaults", []) else None
    return {
        **news,
        name: kept or shape.name(token, label, request.autonaming.proposed_name or f"{label}-{generated}"),
        "__defaults": [name],
    }


def _outputs(token: str, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return all outputs of a resource: inputs, known outputs, and computed ones, which are unknown in a preview."""
    shape, has = resource_rules.of(token), sdk_check.resource(token).outputs
    outputs = {**{key: value for key, value in known.items() if key != "id"}, **inputs}
    outputs = {key: value for key, value in outputs.items() if key in has or key in inputs} | shape.shown(known.get("id", ""), inputs)
    if shape.all_tags in has:
        outputs[shape.all_tags] = inputs.get("tags", {})
    for name, each in has.items():
        if name not in outputs and each.required:
            outputs[name] = _computed(shape, name, each.kind.word, known) if known else sdk_check.UNKNOWN
    return outputs


def _computed(shape: resource_rules.ResourceRules, name: str, word: str, known: Mapping[str, Any]) -> Any:
    if (computed := shape.computed(name, known["id"])) is not None:
        return computed
    texts = {"str": f"{known['id']}/{name}" if name not in ("id", "name") else known["id"], "bool": False, "int": 1, "float": 1.0}
    return texts.get(word, [] if word == "list" else {})


def _next(value: Any) -> Any:
    return value + 1 if isinstance(value, int | float) else f"{value}+"


def _refuse_unknown(inputs: Mapping[str, Any]) -> None:
    if sdk_check.UNKNOWN in set(leaves(inputs)):
        raise Refused("an unknown value reached the cloud")


def _without_marks(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "__defaults"}


def _token(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    return dict(json_format.MessageToDict(struct))


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(values), struct)
    return struct


def _refuse(context: Any, text: str) -> NoReturn:
    context.abort(grpc.StatusCode.UNKNOWN, text)
    raise AssertionError("abort raises")


def main() -> None:
    """Serve until the engine stops this process or exits."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _signal, _frame: os._exit(0))
    exit_with_parent(lambda: None)
    cloud = Cloud(Path(os.environ["GPUYARD_STANDIN_CLOUD"]), int(os.environ.get("GPUYARD_STANDIN_FAIL_CREATE", "0")))
    limits = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=limits)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(cloud), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
