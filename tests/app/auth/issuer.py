"""A fake token issuer on the loopback interface, with its own keys."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "loomql"


class StandInIssuer:
    """A fake issuer: the keys that it publishes, the requests that it received, and the tokens that it signs."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[str] = []
        self.is_away = False
        self.answers = threading.Event()
        """Event during which the issuer answers; while it is not set, requests hang."""
        self.answers.set()
        self.rsa = rsa.generate_private_key(65_537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": "ec"},
        ]

    def claims(self, **changes: object) -> dict[str, Any]:
        """Return the claims of a valid token, with changes."""
        now = int(time.time())
        plain = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, "iat": now, "groups": ["ml"]}
        return {name: value for name, value in (plain | changes).items() if value is not None}

    def token(self, key: Any = None, algorithm: str = "RS256", kid: str | None = "rsa", **changes: object) -> str:
        """Return a token that is valid except for the changes."""
        headers = {"kid": kid} if kid else {}
        return jwt.encode(self.claims(**changes), key or self.rsa, algorithm, headers)

    def answer(self, path: str) -> object:
        """Return the document that the issuer publishes at a path."""
        self.requests.append(path)
        if path == "/keys":
            return {"keys": self.keys}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}


@contextmanager
def stand_in_issuer() -> Iterator[StandInIssuer]:
    """Run an issuer until the block ends."""
    issuer = StandInIssuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = json.dumps(issuer.answer(self.path)).encode()
            issuer.answers.wait()
            with suppress(OSError):
                self.send_response(503 if issuer.is_away else 200)
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()
