"""A fake model provider that implements the part of OpenAI's protocol that these tests need."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "The thread that crosses the warp."
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lund"}'}}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(completion(request)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


def completion(request: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, or a tool call if the request offers tools."""
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
    if "tools" in request:
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    return {
        "id": "completion-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": f"{request['model']}-2026",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 21, "completion_tokens": 8, "total_tokens": 29},
    }


@contextmanager
def provider() -> Iterator[str]:
    """Run the provider until the block ends; yield its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
