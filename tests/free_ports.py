"""Ports that nobody listens on, and that no other test is given meanwhile."""

import random
import socket

_BELOW_THOSE_THAT_SYSTEMS_GIVE_OUT = range(20_000, 32_000)


def free_port() -> int:
    """A port of this machine that is free; tests that run side by side ask the system for others."""
    while True:
        port = random.choice(_BELOW_THOSE_THAT_SYSTEMS_GIVE_OUT)  # noqa: S311 -- no secret
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
