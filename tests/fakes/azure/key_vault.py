"""Fake of Azure Key Vault: returns the secrets of vaults for a token whose audience is Key Vault."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fakes.azure.entra import NODES, claims_of
from tests.fakes.azure.https_service import Answer, Call, FakeHttps, RefusalError


class FakeVault(FakeHttps):
    """The service. `secrets`: VAULT/NAME or VAULT/NAME/VERSION -> value."""

    routes = (("get_secret", "GET", r"(?P<vault>[^./]+)\.vault\.azure\.net/secrets/(?P<name>[^/]+)(/(?P<version>[^/]+))?"),)

    def __init__(self, secrets: Mapping[str, str]) -> None:
        super().__init__()
        self.secrets = dict(secrets)

    def admit(self, call: Call) -> None:
        """Accept only the nodes' identity."""
        claims = claims_of(call.headers)
        if claims.get("aud") != "https://vault.azure.net" or claims.get("appid") != NODES:
            raise RefusalError(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")

    def get_secret(self, call: Call, vault: str, name: str, version: str | None = None) -> Answer:
        """Return one secret."""
        key = "/".join(part for part in (vault, name, version) if part)
        if key not in self.secrets:
            raise RefusalError(404, "SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault.")
        return Answer(200, {"value": self.secrets[key], "id": f"https://{vault}.vault.azure.net/secrets/{name}"})
