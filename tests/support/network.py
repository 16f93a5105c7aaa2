"""Ports and addresses on this machine."""

import errno
import random
import socket
from urllib.request import urlopen


def free_port() -> int:
    """Return a free port that stays free, also when minutes pass before it is used.

    The kernel gives the ports from 32768 to clients and to servers that ask for any port. Tests in
    other processes start hundreds of those, and one would answer instead of the service.
    """
    while True:
        port = random.randrange(10_000, 32_768)  # noqa: S311
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
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
