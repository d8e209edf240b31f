"""The test suite's own settings: no network but loopback, warnings are errors, no settings of the developer."""

from __future__ import annotations

import os
import socket
import warnings

import pytest


def test_only_loopback_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()
    with pytest.raises(UserWarning, match=r"192\.0\.2\.1.*allowed"):  # pytest-socket warns before it raises
        socket.create_connection(("192.0.2.1", 9), timeout=1)


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning, match="seen"):
        warnings.warn("seen", UserWarning, stacklevel=1)


def test_no_credentials_or_settings_of_the_developer_are_visible() -> None:
    assert not [name for name in os.environ if name.startswith(("PULUMI_", "GOOGLE_", "AZURE_"))]
