"""Fake of Azure Blob Storage, Azure ML and Entra ID for benchmarks: one process on 127.0.0.1 behind Azure's own host names.

`python -m benchmarks.fakes.azure` prints the environment variables that a client needs, as JSON, and serves until stdin closes. It is an
HTTPS proxy that answers every host itself. It checks no request and answers at once, so that a benchmark measures the client alone.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import socket
import ssl
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TENANT = "11111111-2222-3333-4444-555555555555"
_HOSTS = ("*.blob.core.windows.net", "management.azure.com", "login.microsoftonline.com")
_LOGIN = f"https://login.microsoftonline.com/{TENANT}"
_MODIFIED = {"Last-Modified": "Sun, 22 Nov 2026 03:00:00 GMT"}
_OPENID = {
    "token_endpoint": f"{_LOGIN}/oauth2/v2.0/token",
    "authorization_endpoint": f"{_LOGIN}/oauth2/v2.0/authorize",
    "device_authorization_endpoint": f"{_LOGIN}/oauth2/v2.0/devicecode",
    "issuer": f"{_LOGIN}/v2.0",
}
_DISCOVERY = {
    "tenant_discovery_endpoint": f"{_LOGIN}/v2.0/.well-known/openid-configuration",
    "api-version": "1.1",
    "metadata": [
        {
            "preferred_network": "login.microsoftonline.com",
            "preferred_cache": "login.windows.net",
            "aliases": ["login.microsoftonline.com", "login.windows.net"],
        }
    ],
}
_TOKEN = {"token_type": "Bearer", "expires_in": 3600, "access_token": "header.claims.signature"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet for head and body
    tls: ssl.SSLContext
    blobs: dict[str, tuple[bytes, str]] = {}  # noqa: RUF012 shared by all connections
    calls: list[str] = []  # noqa: RUF012 shared by all connections

    def do_CONNECT(self) -> None:
        """Answer the tunnel's requests here, whatever the host."""
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.wfile.flush()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def _serve(self) -> None:
        path, host = self.path.partition("?")[0], self.headers.get("Host", "")
        if hasattr(socket, "TCP_QUICKACK"):  # clients keep Nagle's algorithm towards a proxy: 40 ms for each body
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/calls":
            self._answer(200, self.calls)
        elif host.startswith("login."):
            self._answer(200, _TOKEN if path.endswith("/token") else _DISCOVERY if path.endswith("/instance") else _OPENID)
        elif host.startswith("management."):
            self.calls.append(f"{self.command} {path}")
            properties = {**json.loads(body or b"{}").get("properties", {}), "status": "NotStarted"}
            self._answer(201, {"id": path, "name": path.rpartition("/")[2], "type": "x", "properties": properties})
        else:
            self.calls.append(f"{self.command} {path}")
            self._blob(path, body)

    do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815 the names http.server looks for

    def _blob(self, path: str, body: bytes) -> None:
        found = self.blobs.get(path)
        if self.command != "PUT":
            if found is None:
                self._answer(404, b"<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>", {"x-ms-error-code": "BlobNotFound"})
                return
            size = len(found[0])
            headers = {"ETag": found[1], "Content-Range": f"bytes 0-{size - 1}/{size}", "x-ms-blob-type": "BlockBlob", **_MODIFIED}
            self._answer(206 if self.command == "GET" else 200, found[0], headers)
            return
        expected = self.headers.get("If-Match")
        if (found and self.headers.get("If-None-Match")) or (expected and (found is None or found[1] != expected)):
            self._answer(412, b"<?xml version='1.0'?><Error><Code>ConditionNotMet</Code></Error>", {"x-ms-error-code": "ConditionNotMet"})
            return
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        self.blobs[path] = body, etag
        self._answer(201, b"", {"ETag": etag, **_MODIFIED})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _make_certificate(folder: Path) -> Path:
    """Write a self-signed certificate for Azure's host names, with its key, into one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpuyard benchmarks")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in _HOSTS]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(pem + private)
    return folder / "server.pem"


def main() -> None:
    """Serve until stdin closes."""
    with tempfile.TemporaryDirectory() as name:
        certificate, token = _make_certificate(Path(name)), Path(name, "token")
        token.write_text("header.claims-of-a-pipeline.signature")
        _Handler.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _Handler.tls.load_cert_chain(certificate)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        proxy = {"HTTPS_PROXY": url, "https_proxy": url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        trust = {"REQUESTS_CA_BUNDLE": str(certificate), "SSL_CERT_FILE": str(certificate)}
        login = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": TENANT, "AZURE_FEDERATED_TOKEN_FILE": str(token)}
        print(json.dumps({**proxy, **trust, **login, "CALLS": f"{url}/calls"}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
