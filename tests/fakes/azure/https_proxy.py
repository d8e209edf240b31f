"""An HTTPS proxy on 127.0.0.1 that routes Azure's host names to fakes. Clients need only the standard proxy variables."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Mapping
from typing import Self

from tests.fakes.azure.certificates import certificate


class HttpsProxy(socketserver.ThreadingTCPServer):
    """The proxy. `routes` maps a host name, or a suffix that begins with a dot, to the port of a TLS server. Other hosts are refused and
    recorded.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, routes: Mapping[str, int]) -> None:
        self.routes = dict(routes)
        self.refused: list[str] = []
        super().__init__(("127.0.0.1", 0), _Tunnel)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that uses the proxy, as behind a company's proxy."""
        authority = str(certificate().authority)
        url = f"http://127.0.0.1:{self.server_address[1]}"
        return {
            "HTTPS_PROXY": url, "https_proxy": url, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": authority, "SSL_CERT_FILE": authority,
        }  # fmt: skip

    def port_of(self, host: str) -> int | None:
        """Return the port that a host name is routed to."""
        return self.routes.get(host) or next((port for name, port in self.routes.items() if name[0] == "." and host.endswith(name)), None)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Tunnel(socketserver.BaseRequestHandler):
    server: HttpsProxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            block = self.request.recv(4096)
            if not block:
                return
            head += block
        method, target = head.split(b" ", 2)[:2]
        host = target.decode().rpartition(":")[0]
        port = self.server.port_of(host) if method == b"CONNECT" else None
        if port is None:
            self.server.refused.append(target.decode())
            self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        try:
            far = socket.create_connection(("127.0.0.1", port))
        except OSError:
            self.request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return
        for end in (far, self.request):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with far:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, self.request), daemon=True)
            back.start()
            _copy(self.request, far)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            if hasattr(socket, "TCP_QUICKACK"):  # clients keep Nagle's algorithm towards a proxy: 40 ms for each body
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if not (block := source.recv(65536)):
                break
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
