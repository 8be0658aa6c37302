"""Listening TCP ports of a host: accept, say a line if there is one to say, close."""

from __future__ import annotations

import contextlib
import selectors
import socket

BACKLOG = 4096


def listen(services: dict[int, str | None]) -> list[tuple[socket.socket, bytes]]:
    """Listen on ports, for IPv4 and IPv6 alike.

    Arguments:
        services: the line that is said at each port, or None.

    Returns:
        Sockets with what is said there.

    Raises:
        OSError: a port can't be had.
    """
    listening = []
    for port, line in services.items():
        server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        server.settimeout(0)
        listening.append((server, f"{line}\r\n".encode() if line else b""))
    return listening


def _answer(server: socket.socket, line: bytes) -> None:
    # The client may be gone before it is accepted or answered, as after a SYN probe that its kernel has reset.
    with contextlib.suppress(BlockingIOError, ConnectionError):
        connection, _ = server.accept()
        with connection:
            connection.sendall(line)


def serve(listening: list[tuple[socket.socket, bytes]]) -> None:
    """Answer for ever."""
    with selectors.DefaultSelector() as selector:
        for server, line in listening:
            selector.register(server, selectors.EVENT_READ, line)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                _answer(key.fileobj, key.data)
