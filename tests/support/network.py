"""Ports and addresses on this machine."""

import socket
from urllib.request import urlopen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def accepts_connections(address: str | int) -> bool:
    """Return whether something listens at `address`, a port of 127.0.0.1 or a socket's path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        target = address if isinstance(address, str) else ("127.0.0.1", address)
        return client.connect_ex(target) == 0


def get(url: str) -> bytes | None:
    """Return the body of a successful response to GET `url`, or None."""
    try:
        with urlopen(url, timeout=5) as response:  # noqa: S310
            body: bytes = response.read()
            return body
    except OSError:
        return None
