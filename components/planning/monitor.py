"""A stand-in for the engine's resource monitor. It answers a program's requests like a first preview, and records them.

It extends the SDK's mock monitor for unit tests, and reports the errors that an engine would report.
"""

from __future__ import annotations

from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.proto import callback_pb2, resource_pb2

from ...plain_data import PlainDict
from .recording import Recording, properties
from .sdk_arguments import wrong_arguments

__all__ = ["Answers", "RecordingMonitor"]

_STACK = "pulumi:pulumi:Stack"
_REFERENCE = "pulumi:pulumi:StackReference"
_DYNAMIC = "pulumi-python:"  # the engine runs no preview of these providers, so their outputs are unknown before the first `up`


class Answers(mocks.Mocks):
    """The answers of the providers in a first preview: no ids and no computed outputs."""

    preview = True

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, PlainDict]:
        """Return the id and the outputs of a resource."""
        return "", {}

    def call(self, args: mocks.MockCallArgs) -> tuple[PlainDict, list[tuple[str, str]]]:
        """Raise LookupError: a preview has no results of provider functions."""
        raise LookupError(f"no answer to {args.token}")


class RecordingMonitor(mocks.MockMonitor):
    """A mock monitor that records every request. The method names are those of the gRPC protocol."""

    def __init__(self, answers: Answers, recording: Recording) -> None:
        super().__init__(answers)
        self._recording = recording
        self._preview = answers.preview
        self._urns: set[str] = set()
        self._repeated: set[str] = set()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Return a URN as the engine builds it, with the types of all parents except the stack. The SDK's mock adds only one parent."""
        above = parent.split("::")[2] if parent else _STACK
        kind = type_ if above == _STACK else f"{above}${type_}"
        return f"urn:pulumi:{settings.get_stack()}::{settings.get_project()}::{kind}::{name}"

    def RegisterResource(  # noqa: N802 the protocol's name
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Record a resource and return its outputs."""
        if request.type != _STACK:
            self._check_references(request)
            self._note_omissions(request)
        response: resource_pb2.RegisterResourceResponse = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if response.urn in self._urns:
            if request.parent not in self._repeated:  # one line for a component: its children repeat too
                self._recording.problems.append(f"{_short(response.urn)}: two resources have this URN; rename one")
            self._repeated.add(response.urn)
        self._urns.add(response.urn)
        if request.type != _STACK:
            self._recording.resources[response.urn] = request
        wrong = wrong_arguments(request.type, properties(request.object)) if request.custom else []
        self._recording.problems += [f"{request.type} {request.name}: {problem}" for problem in wrong]
        if wrong:
            response.object.Clear()  # the SDK would fail to read them
        elif self._preview and request.custom and not request.type.startswith(_DYNAMIC):
            response.object.CopyFrom(request.object)  # a provider returns its inputs; computed outputs are missing, so they are unknown
        _drop_identity_list(response)
        return response

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:  # noqa: N802
        """Record an existing resource, or another stack whose outputs the program reads."""
        response: resource_pb2.ReadResourceResponse = super().ReadResource(request)  # type: ignore[no-untyped-call]
        self._urns.add(response.urn)
        if request.type != _REFERENCE:
            self._recording.reads.append(f"{request.type} {request.name}")
            return response
        self._recording.references.append(request.id)
        if self._preview:
            response.properties.update({"outputs": rpc.UNKNOWN, "secretOutputNames": rpc.UNKNOWN})
        else:
            response.properties.update({"outputs": {}, "secretOutputNames": []})
        return response

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:  # noqa: N802
        """Record the call of a provider function. In a preview, answer that the result is unknown."""
        of_engine = request.tok.startswith("pulumi:")  # the SDK reads its own registered resources this way
        if not of_engine:
            self._recording.lookups.append(request.tok)
        if self._preview and not of_engine:
            return resource_pb2.ResourceInvokeResponse(unknown=True)
        response: resource_pb2.ResourceInvokeResponse = super().Invoke(request)  # type: ignore[no-untyped-call]
        return response

    def Call(self, request: resource_pb2.ResourceCallRequest) -> None:  # noqa: N802
        """Record the call of a remote component's method, and raise LookupError."""
        self._recording.lookups.append(request.tok)
        raise LookupError(f"{request.tok}: an offline plan cannot call a method of a remote component; run `pulumi preview`")

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> object:  # noqa: N802
        """Record the outputs of a component."""
        if request.urn not in self._urns:
            self._recording.problems.append(
                f"{_short(request.urn)}: register_outputs of a component that is not registered; call super().__init__ first"
            )
        self._recording.component_outputs[request.urn] = properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]

    def RegisterStackTransform(self, request: callback_pb2.Callback) -> object:  # noqa: N802
        """Record a warning that the plan omits the transform's changes, because only an engine runs transforms."""
        self._recording.warnings.append("the stack has a transform, which a plan does not run: its changes are not in the plan")
        return super().RegisterStackTransform(request)  # type: ignore[no-untyped-call]

    def _note_omissions(self, request: resource_pb2.RegisterResourceRequest) -> None:
        """Record that the plan omits a remote component's resources and the changes of transforms, because only an engine runs them."""
        if request.remote:
            self._recording.lookups.append(f"remote component {request.type} {request.name}")
        if request.transforms:
            self._recording.warnings.append(
                f"{request.type} {request.name} has transforms, which a plan does not run: their changes are not in the plan"
            )

    def _check_references(self, request: resource_pb2.RegisterResourceRequest) -> None:
        """Record a problem for each reference to a missing URN: the engine would fail, or ignore the dependency."""
        named = {"parent": [request.parent], "depends_on": request.dependencies, "deleted_with": [request.deletedWith]}
        providers = [request.provider, *request.providers.values()]
        named["provider"] = [reference.rpartition("::")[0] for reference in providers if reference]
        for option, urns in named.items():
            for urn in urns:
                if urn and urn not in self._urns:
                    self._recording.problems.append(f"{request.type} {request.name}: {option} is {_short(urn)}, which is not registered")


def _drop_identity_list(response: resource_pb2.RegisterResourceResponse) -> None:
    """Remove the list of identities from an Azure resource's outputs. The SDK expects a map there, as Azure returns it."""
    identity = response.object.fields.get("identity")
    if identity is not None:
        identity.struct_value.fields.pop("userAssignedIdentities", None)


def _short(urn: str) -> str:
    """Return the type and the name of a URN."""
    parts = urn.split("::")
    return f"{parts[2].rpartition('$')[2]} {parts[-1]}" if len(parts) > 3 else repr(urn)
