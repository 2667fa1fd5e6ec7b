"""A fake token issuer on the loopback interface, with its own keys; people sign in there by a click."""

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

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
        self.exchange_url = ""
        """Address of the token endpoint; that of this issuer if empty."""
        self.sign_in_answer: dict[str, str] = {}
        """Members that replace those of the answer to a sign-in, such as `error` or another `state`."""
        self.lifetime_seconds = 600
        """Time for which tokens are valid."""
        self.id_token: dict[str, Any] = {}
        """Claims that replace those of id tokens."""
        self.access_token: dict[str, Any] | None = None
        """Claims that replace those of access tokens; they are opaque while it is None."""
        self.gives_refresh_tokens = False
        self.end_url = ""
        """Address of the page at which people sign out; none if it is empty."""
        self.ended: list[dict[str, str]] = []
        """Sign-outs that somebody asked for."""
        self.grants: list[dict[str, str]] = []
        """Forms that the token endpoint accepted."""
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh_tokens: set[str] = set()
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": "ec"},
        ]

    def claims(self, **changes: object) -> dict[str, Any]:
        """Return the claims of a valid token, with changes."""
        now = int(time.time())
        end = now + self.lifetime_seconds
        plain = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": end, "iat": now, "groups": ["ml"]}
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
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize?tenant=acme",
            "token_endpoint": self.exchange_url or f"{self.url}/token",
            **({"end_session_endpoint": self.end_url} if self.end_url else {}),
        }

    def sign_in(self, query: str) -> str:
        """Return the address to which a sign-in returns."""
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.url, **self.sign_in_answer}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def sign_out(self, query: str) -> str:
        """Return the address to which a sign-out returns."""
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        self.ended.append(asked)
        return f"{asked['post_logout_redirect_uri']}?{urlencode({'state': asked['state']})}"

    def forget_refresh_tokens(self) -> None:
        """Refuse all refresh tokens."""
        self._refresh_tokens.clear()

    def exchange(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """Return the status and answer of the token endpoint, which takes each code and refresh token once."""
        asked: dict[str, str] = {}
        if form["grant_type"] == "authorization_code":
            asked = self._codes.pop(form["code"], {})
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            is_right = asked.get("code_challenge") == challenge and asked["code_challenge_method"] == "S256"
            is_right &= all(form[name] == asked.get(name) for name in ("client_id", "redirect_uri"))
        else:
            is_right = form["refresh_token"] in self._refresh_tokens
            self._refresh_tokens.discard(form["refresh_token"])
        if not is_right:
            return 400, {"error": "invalid_grant", "error_description": "The grant is not valid."}
        self.grants.append(form)
        opaque = secrets.token_urlsafe()
        answer: dict[str, object] = {
            "token_type": "Bearer",
            "access_token": opaque if self.access_token is None else self.token(**self.access_token),
            "id_token": self.token(**{"aud": form["client_id"], "nonce": asked.get("nonce")} | self.id_token),
        }
        if self.gives_refresh_tokens:
            answer["refresh_token"] = secrets.token_urlsafe()
            self._refresh_tokens.add(str(answer["refresh_token"]))
        return 200, answer


@contextmanager
def stand_in_issuer() -> Iterator[StandInIssuer]:
    """Run an issuer until the block ends."""
    issuer = StandInIssuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if visited := {"/authorize": issuer.sign_in, "/end": issuer.sign_out}.get(address.path):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                link = html.escape(visited(address.query))
                self.wfile.write(f'<!doctype html><title>Issuer</title><a href="{link}">Continue</a>'.encode())
                return
            answer = issuer.answer(self.path)
            issuer.answers.wait()
            self._send(503 if issuer.is_away else 200, answer)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._send(*issuer.exchange({name: values[0] for name, values in parse_qs(body).items()}))

        def _send(self, status: int, answer: object) -> None:
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

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
