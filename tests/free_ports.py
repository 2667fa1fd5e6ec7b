"""Free ports for tests."""

import random
import socket

_BELOW_THOSE_THAT_SYSTEMS_GIVE_OUT = range(20_000, 32_000)


def free_port() -> int:
    """Return a free port outside the range that the system assigns, so that no concurrent test gets it."""
    while True:
        port = random.choice(_BELOW_THOSE_THAT_SYSTEMS_GIVE_OUT)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
