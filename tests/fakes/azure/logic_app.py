"""A stand-in for a Logic App: runs a workflow definition against a fake Azure Resource Manager that has its runs and one scale set.

It knows the actions and functions that the yard's workflows use, and refuses others: learn.microsoft.com/azure/logic-apps/ (pages
workflow-definition-language-functions-reference and logic-apps-workflow-actions-triggers).
"""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from gpuyard.components.azure.roles import REPAIRS_STOPPER

_TOKEN = re.compile(r"\s*(?:'(?P<text>[^']*)'|(?P<number>-?\d+)|(?P<name>\w+)|(?P<sign>\?|\[|\]|\(|\)|,|\.))")
_HOUR = datetime.timedelta(hours=1)


class RequestFailedError(Exception):
    """A request of a workflow failed, so the workflow stops and sends no answer."""


class FakeAzure:
    """Azure Resource Manager with the runs of one workflow and one scale set. It grants the actions of the custom role alone."""

    workflow = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Logic/workflows/lab-replacements"
    scale_set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/lab"

    def __init__(self) -> None:
        self.now = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
        self.runs: list[tuple[datetime.datetime, str]] = []
        self.granted = set(REPAIRS_STOPPER.actions)
        self.suspended = 0

    def request(self, method: str, uri: str, queries: Mapping[str, Any], body: Any) -> Any:
        path = uri.removeprefix("https://management.azure.com")
        if (method, path) == ("GET", f"{self.workflow}/runs"):
            self._require("Microsoft.Logic/workflows/runs/read")
            since = datetime.datetime.fromisoformat(queries["$filter"].removeprefix("startTime ge "))
            found = [machine for at, machine in reversed(self.runs) if at >= since][: queries["$top"]]
            return {"value": [{"properties": {"correlation": {"clientTrackingId": machine}}} for machine in found]}
        if (method, path) == ("POST", f"{self.scale_set}/setOrchestrationServiceState"):
            self._require("Microsoft.Compute/virtualMachineScaleSets/setOrchestrationServiceState/action")
            assert body == {"serviceName": "AutomaticRepairs", "action": "Suspend"}
            self.suspended += 1
            return {}
        raise AssertionError(f"no such resource: {method} {path}")

    def _require(self, action: str) -> None:
        if action not in self.granted:
            raise RequestFailedError(f"AuthorizationFailed: {action}")


class LogicApp:
    """A workflow whose trigger is an HTTP request."""

    def __init__(self, definition: Mapping[str, Any], azure: FakeAzure) -> None:
        self._definition, self._azure = definition, azure

    def call(self, machine: str, reason: str = "broken", tracking_id: str | None = None) -> Any:
        """Send a report, as a machine does. Return the body of the answer; None: the workflow sent none."""
        [trigger] = self._definition["triggers"].values()
        body = {"machine": machine, "reason": reason}
        assert trigger["type"] == "Request"
        assert set(trigger["inputs"]["schema"]["required"]) <= set(body)
        self._azure.runs.append((self._azure.now, tracking_id or machine))
        run = WorkflowRun(self._azure, body)
        try:
            run.do(self._definition["actions"])
        except RequestFailedError:
            return None
        return run.answer


class WorkflowRun:
    """One run of a workflow."""

    def __init__(self, azure: FakeAzure, body: Any) -> None:
        self._azure, self._bodies, self._item = azure, dict[str, Any](), None
        self.answer: Any = None
        self._functions: dict[str, Callable[..., Any]] = {
            "addHours": lambda at, hours: at + hours * _HOUR,
            "body": self._bodies.__getitem__,
            "createArray": lambda *values: list(values),
            "formatDateTime": lambda at, form: self._format(at, form),
            "item": lambda: self._item,
            "length": len,
            "triggerBody": lambda: body,
            "union": lambda *lists: list(dict.fromkeys(value for values in lists for value in values)),
            "utcNow": lambda: azure.now,
            "workflow": lambda: {"id": azure.workflow},
        }

    def do(self, actions: Mapping[str, Any]) -> None:
        """Do the actions, each after the ones that its `runAfter` names."""
        done: set[str] = set()
        while ready := [name for name in actions if name not in done and set(actions[name].get("runAfter", {})) <= done]:
            for name in ready:
                self._one(name, actions[name])
                done.add(name)
        assert done == set(actions), "an action waits for one that does not exist"

    def _one(self, name: str, action: Mapping[str, Any]) -> None:
        if action["type"] == "If":
            holds = all(self._holds(*each.items()) for each in action["expression"]["and"])
            self.do(action["actions"] if holds else action.get("else", {}).get("actions", {}))
        elif action["type"] == "Compose":
            self._bodies[name] = self._value(action["inputs"])
        elif action["type"] == "Select":
            self._bodies[name] = [self._selected(each, action["inputs"]["select"]) for each in self._value(action["inputs"]["from"])]
        elif action["type"] == "Response":
            self.answer = action["inputs"]["body"]
        else:
            assert action["type"] == "Http"
            assert action["inputs"]["authentication"]["type"] == "ManagedServiceIdentity"
            inputs = {key: self._value(value) for key, value in action["inputs"].items()}
            queries = {key: self._value(value) for key, value in inputs["queries"].items()}
            self._bodies[name] = self._azure.request(inputs["method"], inputs["uri"], queries, inputs.get("body"))

    def _holds(self, comparison: tuple[str, list[Any]]) -> bool:
        kind, (left, right) = comparison[0], (self._value(value) for value in comparison[1])
        return bool({"greater": operator.gt, "equals": operator.eq}[kind](left, right))

    def _selected(self, each: Any, select: str) -> Any:
        self._item = each
        return self._value(select)

    def _value(self, given: Any) -> Any:
        """Evaluate a text that is an expression, `@...`, or contains some, `@{...}`."""
        if not isinstance(given, str):
            return given
        if given.startswith("@") and not given.startswith("@{"):
            return self._evaluate(given[1:])
        return re.sub(r"@\{([^}]*)\}", lambda found: str(self._evaluate(found[1])), given)

    def _evaluate(self, text: str) -> Any:
        tokens = [(match.lastgroup, match[str(match.lastgroup)]) for match in _TOKEN.finditer(text)]
        assert "".join(_TOKEN.sub("", text).split()) == "", f"not an expression: {text}"
        value = self._parse(tokens)
        assert not tokens, f"not an expression: {text}"
        return value

    def _parse(self, tokens: list[tuple[str | None, str]]) -> Any:
        kind, word = tokens.pop(0)
        if kind != "name":
            return word if kind == "text" else int(word)
        assert tokens.pop(0)[1] == "("
        arguments = []
        while tokens[0][1] != ")":
            arguments.append(self._parse(tokens))
            if tokens[0][1] == ",":
                tokens.pop(0)
        tokens.pop(0)
        value = self._functions[word](*arguments)
        while tokens and tokens[0][1] in ("?", ".", "["):
            value = self._member(value, tokens)
        return value

    def _member(self, value: Any, tokens: list[tuple[str | None, str]]) -> Any:
        if tokens[0][1] == "?":
            tokens.pop(0)
            value = value or {}
        if tokens.pop(0)[1] == ".":
            return value[tokens.pop(0)[1]]
        key = tokens.pop(0)[1]
        assert tokens.pop(0)[1] == "]"
        return value.get(key)

    @staticmethod
    def _format(at: datetime.datetime, form: str) -> str:
        assert form == "yyyy-MM-ddTHH:mm:ssZ"
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")
