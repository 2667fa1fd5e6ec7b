"""A real server for an ASGI application, in a thread of the test run, on a free loopback port."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from app.server.http_protocol import HTTPProtocol
from tests.waiting import TIMEOUT


@contextmanager
def live_server(app: Any, **options: Any) -> Iterator[str]:
    """Run a server until the block ends; yield `127.0.0.1:<port>`."""
    given = {"http": HTTPProtocol, "log_config": None, "timeout_graceful_shutdown": 5, **options}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, **given)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + TIMEOUT
        while not server.started:
            assert thread.is_alive(), "the server stopped while starting"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=TIMEOUT)
        assert not thread.is_alive(), "the server did not stop"
