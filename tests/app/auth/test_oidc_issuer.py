"""Tests of issuers that hang, answer slowly or withdraw a key, and of the cache of verified tokens."""

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.auth import oidc
from app.auth.oidc import Issuer, IssuerError, OidcTokens, TokenCache, fetch_json, parse_claim_grants
from app.auth.sessions import Session
from stores import times
from stores.errors import UnavailableError
from stores.security.access import Caller
from tests.app.auth.issuer import AUDIENCE, StandInIssuer, stand_in_issuer
from tests.app.command import eventually, serving
from tests.waiting import TIMEOUT, until

GRANTS = parse_claim_grants("groups=ml writer acme/*")
HOUR = 3600.0


@pytest.fixture
def issuer() -> Iterator[StandInIssuer]:
    with stand_in_issuer() as issuer:
        yield issuer


def age(issuer: Issuer, seconds: float) -> None:
    """Make the fetched keys that many seconds older."""
    issuer._fetched_at -= seconds
    issuer._tried_at -= seconds


async def test_token_with_a_known_key_does_not_wait_for_a_hanging_issuer(issuer: StandInIssuer) -> None:
    keys = Issuer(issuer.url, timeout_seconds=TIMEOUT)
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS, keys)
    assert await tokens.session(issuer.token())
    issuer.answers.clear()
    age(keys, 700)

    async with asyncio.timeout(TIMEOUT / 2):
        for number in range(5):
            assert await tokens.session(issuer.token(sub=f"{number}"))

    issuer.answers.set()
    await until(lambda: keys._fetch is not None and keys._fetch.done())
    assert len(issuer.requests) == 4  # both documents, twice


async def test_token_with_an_unknown_key_waits_once_and_briefly(issuer: StandInIssuer) -> None:
    keys = Issuer(issuer.url)
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS, keys)
    assert await tokens.session(issuer.token())
    keys._timeout_seconds = 0.5
    issuer.answers.clear()
    age(keys, 60)
    unknown = [issuer.token(kid=f"{number}") for number in range(10)]
    began = time.monotonic()

    first = await asyncio.gather(*[tokens.session(token) for token in unknown])
    took = time.monotonic() - began
    again = await asyncio.gather(*[tokens.session(token) for token in unknown])

    assert first == again == [None] * 10
    assert took > 0.4
    assert len(issuer.requests) == 3


async def test_token_of_a_withdrawn_issuer_key_is_refused_though_cached(
    issuer: StandInIssuer,
) -> None:
    keys = Issuer(issuer.url)
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS, keys)
    by_rsa, by_ec = issuer.token(), issuer.token(issuer.ec, "ES256", "ec")
    assert [bool(await tokens.session(token)) for token in (by_rsa, by_ec, by_rsa)] == [True] * 3
    del issuer.keys[0]
    age(keys, 700)

    assert await tokens.session(by_rsa)
    await until(lambda: keys._find("rsa") is None)
    assert [bool(await tokens.session(token)) for token in (by_rsa, by_ec)] == [False, True]


async def test_issuer_keys_are_refreshed_without_requests(issuer: StandInIssuer) -> None:
    keys = Issuer(issuer.url, min_interval_seconds=0.01)
    task = asyncio.create_task(OidcTokens(issuer.url, AUDIENCE, GRANTS, keys).keep_fresh())
    await until(lambda: keys._find("rsa") is not None)
    del issuer.keys[0]
    age(keys, 700)
    await until(lambda: keys._find("rsa") is None)
    task.cancel()

    assert keys._find("ec")
    assert issuer.requests.count("/keys") == 2


async def test_day_old_issuer_keys_and_cached_tokens_expire(issuer: StandInIssuer) -> None:
    keys = Issuer(issuer.url, min_interval_seconds=0)
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS, keys)
    token = issuer.token()
    assert await tokens.session(token)
    issuer.is_away = True

    age(keys, 23 * HOUR)
    assert await tokens.session(token)
    age(keys, HOUR)
    with pytest.raises(UnavailableError):
        await tokens.session(token)


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        ("https://tokens.example:8443/token?tenant=acme", "https://tokens.example:8443"),
        ("http://localhost:9/token", "http://localhost:9"),
        ("http://tokens.example/token", None),
        ("https://tokens.example;script-src/token", None),
        ("https://ann@tokens.example/token", None),
        ("data:application/json,{}", None),
        ("//[", None),
    ],
)
async def test_page_may_reach_the_issuer_and_its_token_endpoint_only(
    issuer: StandInIssuer, endpoint: str, origin: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_SIGN_IN_SECONDS", TIMEOUT)
    issuer.exchange_url = endpoint

    found = await Issuer(issuer.url).sign_in_origins()

    assert found == [issuer.url, *([origin] if origin else [])]


async def test_page_does_not_wait_until_an_issuer_that_hangs_answers(
    issuer: StandInIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Issuer(issuer.url, min_interval_seconds=0, timeout_seconds=TIMEOUT)
    issuer.exchange_url = "https://tokens.example/token"
    issuer.answers.clear()
    async with asyncio.timeout(TIMEOUT / 2):
        assert await keys.sign_in_origins() == [issuer.url]

    monkeypatch.setattr(oidc, "_SIGN_IN_SECONDS", TIMEOUT)
    issuer.answers.set()
    assert await keys.sign_in_origins() == [issuer.url, "https://tokens.example"]


def test_server_fetches_issuer_keys_at_start_and_stops_during_a_hang(
    issuer: StandInIssuer, mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    issuer.answers.clear()
    environment = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_OIDC_ISSUER": issuer.url,
        "LOOMQL_OIDC_AUDIENCE": AUDIENCE,
    }
    with serving(tmp_path / "out", **environment) as server:
        assert eventually(lambda: issuer.requests != [])
        began = time.monotonic()
        assert server.stop() == 0

    assert time.monotonic() - began < 3  # the fetch takes five seconds


async def test_missing_issuer_keys_are_logged_once(issuer: StandInIssuer, caplog: pytest.LogCaptureFixture) -> None:
    keys = Issuer(issuer.url, min_interval_seconds=0)
    issuer.is_away = True
    with caplog.at_level(logging.WARNING, "loomql"):
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await keys.key("rsa")

    url = f"{issuer.url}/.well-known/openid-configuration"
    assert [text for record in caplog.records if url in (text := record.getMessage())] == [
        (
            "the OpenID Connect issuer is unreachable or returns invalid documents (LOOMQL_OIDC_ISSUER): "
            f"{url}: HTTP status 503"
        )
    ]


def session(seconds: float = 60) -> Session:
    return Session(Caller("oidc:ann", ()), expires_at=times.now() + int(seconds * 1_000_000))


def test_verified_token_is_cached_until_expiry_or_key_change() -> None:
    verified, good = TokenCache(), session()
    verified.keep("good", 1, good)
    verified.keep("over", 1, session(-1))

    assert verified.find("good", 1) is good
    assert verified.find("over", 1) is None
    assert verified.find("other", 1) is None
    assert verified.find("good", 2) is None
    assert verified.find("good", 1) is None


def test_verified_token_is_cached_for_minutes_and_as_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = TokenCache()
    verified.keep("good \ud800", 1, session(HOUR))
    now = time.monotonic()

    assert "good" not in repr(verified._kept)
    monkeypatch.setattr(time, "monotonic", lambda: now + 299)
    assert verified.find("good \ud800", 1)
    monkeypatch.setattr(time, "monotonic", lambda: now + 301)
    assert verified.find("good \ud800", 1) is None
    assert len(verified) == 0


def test_token_cache_evicts_the_least_recently_used() -> None:
    verified = TokenCache(limit=3)
    for number in range(3):
        verified.keep(f"{number}", 1, session())
    assert verified.find("0", 1)
    for number in range(3, 5):
        verified.keep(f"{number}", 1, session())

    assert [name for name in "01234" if verified.find(name, 1)] == ["0", "3", "4"]


async def test_cached_token_expires_at_its_end(issuer: StandInIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = OidcTokens(issuer.url, AUDIENCE, GRANTS)
    end = int(time.time()) + 600
    token = issuer.token(exp=end)
    first = await tokens.session(token)
    kept = await tokens.session(token)
    monkeypatch.setattr(times, "now", lambda: end * times.SECOND)
    later = await tokens.session(token)

    assert first
    assert kept is first
    assert later is None
    assert not first.is_valid()


@contextmanager
def answering(parts: list[bytes], pause: float) -> Iterator[str]:
    """Yield the address of a server that answers with the parts and pauses after each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def answer() -> None:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)  # unread bytes would reset the connection
                    for part in parts:
                        connection.sendall(part)
                        time.sleep(pause)
            except OSError:
                return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [bytes([each]) for each in HEAD * 10],
        [HEAD, *[b" "] * 200],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b" "] * 200],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 200],
        [b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n"] * 90],
    ],
    ids=["head", "body", "body of a length", "chunks", "headers"],
)
def test_slow_issuer_response_times_out(parts: list[bytes]) -> None:
    with answering(parts, 0.05) as url:
        began = time.monotonic()
        with pytest.raises(IssuerError):
            fetch_json(url, began + 0.5)

        assert 0.4 < time.monotonic() - began < 4  # the response takes longer


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"hello\r\n\r\n",
        HEAD + b"[]",
        HEAD + b'{"a": ',
        HEAD + b'{"a": "' + b"x" * 1024 * 1024 + b'"}',
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://example.invalid/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_invalid_issuer_document_is_reported(sent: bytes) -> None:
    with answering([sent], 0) as url, pytest.raises(IssuerError):
        fetch_json(url, time.monotonic() + 5)


def test_issuer_document_needs_a_valid_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"path": self.path, "padding": "x" * 100_000}).encode())

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}/keys"
    with pytest.raises(IssuerError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_json(url, time.monotonic() + 10)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    found = fetch_json(url, time.monotonic() + 10)
    server.shutdown()
    server.server_close()

    assert (found["path"], len(found["padding"])) == ("/keys", 100_000)


def certified(folder: Path) -> Path:
    """Return a file with a key and a certificate for the loopback address."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file = folder / "certificate.pem"
    file.write_bytes(text + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_redirect_over_an_insecure_address_is_refused() -> None:
    away = b"HTTP/1.1 302 Found\r\nLocation: http://issuer.example/keys\r\n\r\n"

    with answering([away], 0) as url, pytest.raises(IssuerError, match="must be an https:// URL"):
        fetch_json(url, time.monotonic() + 5)
