"""Answer Azure's Application Health extension, and report broken hardware. A copy of this file runs on `vms` machines, without gpuyard.

Usage: `python3 FILE answer BROKEN` answers the extension; `python3 FILE report URL CLIENT_ID REASON` exits with 0 if Azure may replace the
machine.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

__all__ = ["PATH", "PORT", "health_server", "may_be_replaced"]

PORT, PATH = 29499, "/health"
"""Port on 127.0.0.1, and path. Linux gives no connection this port by itself: its own ports begin at 32768."""
# learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
_METADATA = "http://169.254.169.254/metadata"
_AUDIENCE = "https://management.azure.com/"
_TRIES, _PAUSE_S, _TIMEOUT_S = 3, 60, 150  # a workflow answers within 120 s


def health_server(broken: Path, port: int = PORT) -> HTTPServer:
    """Return a server that answers Unhealthy while the file `broken` exists, else Healthy. Without an answer Azure replaces the machine."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            """Answer in the form of Rich Health States."""
            answer = json.dumps({"ApplicationHealthState": "Unhealthy" if broken.exists() else "Healthy"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log nothing: the extension asks twice a minute."""

    return HTTPServer(("127.0.0.1", port), Handler)


def may_be_replaced(url: str, client_id: str, reason: str, *, metadata: str = _METADATA, pause_s: float = _PAUSE_S) -> bool:
    """Report broken hardware to the pool's workflow. Return whether Azure may replace this machine; False if no report succeeds.

    `client_id`: the managed identity that calls the workflow. `metadata`: URL of the machine's metadata service.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(pause_s)
        try:
            return _report(url, client_id, reason, metadata)
        except (OSError, ValueError, KeyError) as error:
            print(f"gpuyard: report {attempt + 1} of {_TRIES} of this machine failed: {error}", flush=True)
    return False


def _report(url: str, client_id: str, reason: str, metadata: str) -> bool:
    query = urllib.parse.urlencode({"api-version": "2018-02-01", "resource": _AUDIENCE, "client_id": client_id})
    token = json.loads(_metadata(f"{metadata}/identity/oauth2/token?{query}"))["access_token"]
    machine = _metadata(f"{metadata}/instance/compute/vmId?api-version=2021-02-01&format=text")
    # the workflow counts machines by this id, so a repeated report counts once
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "x-ms-client-tracking-id": machine}
    request = urllib.request.Request(url, json.dumps({"machine": machine, "reason": reason}).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the stack states the address
        return json.load(answer)["replace"] is True


def _metadata(url: str) -> str:
    """Read the metadata service, which no proxy may forward."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(url, headers={"Metadata": "true"}), timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        health_server(Path(sys.argv[2])).serve_forever()
    sys.exit(0 if may_be_replaced(*sys.argv[2:5]) else 1)
