"""Encrypted configuration in a plan: `require_secret` returns an unknown value, `require` raises an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pulumi

__all__ = ["unknown_config"]

_SECRET_FORMS = [f"{verb}_secret{kind}" for verb in ("get", "require") for kind in ("", "_bool", "_int", "_float", "_object")]


@contextmanager
def unknown_config(keys: Collection[str]) -> Iterator[None]:
    """Make `pulumi.Config` treat the values of these keys as unknown inside the context. Keys have namespaces, such as acme:token."""
    forms: dict[str, Callable[..., Any]] = {name: getattr(pulumi.Config, name) for name in (*_SECRET_FORMS, "_get")}

    def secret(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(self: pulumi.Config, key: str, *rest: Any, **options: Any) -> Any:
            return _unknown() if self.full_key(key) in keys else real(self, key, *rest, **options)

        return read

    def plain(self: pulumi.Config, key: str, *rest: Any) -> Any:
        if self.full_key(key) in keys:
            raise pulumi.RunError(
                f"config {self.full_key(key)} is encrypted, so a plan cannot read it; use require_secret, which returns an unknown value"
            )
        return forms["_get"](self, key, *rest)

    try:
        for name in _SECRET_FORMS if keys else ():
            setattr(pulumi.Config, name, secret(forms[name]))
        if keys:
            setattr(pulumi.Config, "_get", plain)  # noqa: B010 mypy would have us repeat its signature
        yield
    finally:
        for name, real in forms.items():
            setattr(pulumi.Config, name, real)


def _unknown() -> pulumi.Output[Any]:
    loop = asyncio.get_event_loop()

    def completed(value: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = loop.create_future()
        future.set_result(value)
        return future

    return pulumi.Output(completed(set()), completed(None), completed(False), completed(True))
