"""Benchmarks of a key or a token: the time from the header to the resolver, compared with requests without one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, Final

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.middleware import KEY_CACHE, CallerMiddleware
from app.auth.oidc import OidcTokens, parse_claim_grants
from app.auth.permissions import guard_routes
from app.auth.sessions import Authenticator, KeyCache
from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import ANONYMOUS_WRITER, Caller, Grant, Role
from tests.app.auth.issuer import AUDIENCE, stand_in_issuer
from tests.benchmarks.report import Must, Row, Section

REQUESTS: Final = 2_000
GRANTS: Final = 20
_BOUND: Final = Must("ms", 0.1)
_TOKENS: Final = "; ".join(f"groups=group-{n} reader entity-{n}/*" for n in range(GRANTS - 1)) + "; sub=ann reader b/c"
_QUERY: Final = "{ nodes(ids: []) { ref } refs(refs: []) }"
"""Query that checks the permission of two fields and sends no command to the database."""

Once = Callable[[], Awaitable[object]]


def measure_keys(uri: str, name: str, requests: int = REQUESTS) -> Section:
    """Measure the cost of a key at the endpoint and at a field, and of a known token at the endpoint."""
    return asyncio.run(_measure(uri, name, requests))


async def _measure(uri: str, name: str, requests: int) -> Section:
    with closing(Database.open(uri, name)) as database:
        await database.ensure_indexes()
        grants = [Grant(f"entity-{n}/*", Role.READER) for n in range(GRANTS - 1)] + [Grant("acme/none", Role.READER)]
        made = await KeysStore(database, settle_seconds=0).create(grants)
        key_cache = KeyCache(KeysStore(database))
        bare = _through(_Nothing(), key_cache, None)
        endpoint = _through(_endpoint(), key_cache, made.text)
        section = {"check of a key": await _compared(endpoint, bare, requests)}
        with stand_in_issuer() as issuer:
            tokens = OidcTokens(issuer.url, AUDIENCE, parse_claim_grants(_TOKENS))
            endpoint = _through(_endpoint(tokens), key_cache, issuer.token())
            section["check of an issuer's token"] = await _compared(endpoint, bare, requests)
        section["check of a key's grants at a field"] = await _fields(database, made.key.caller, requests)
        await key_cache.close()
        return section


def _endpoint(tokens: OidcTokens | None = None) -> ASGIApp:
    """Return the endpoint as the server builds it: authentication, then the guard of a route."""
    [route] = guard_routes([Route("/graphql", _Nothing())])
    assert isinstance(route, Route)
    return CallerMiddleware(route.app, Authenticator("auto", ANONYMOUS_WRITER, tokens))


class _Nothing:
    """An application that answers at once."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def _through(app: ASGIApp, key_cache: KeyCache, key: str | None) -> Once:
    names = (b"host", b"accept", b"user-agent", b"content-type", b"content-length")
    headers = [(name, b"something") for name in names]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    answered: list[Message] = []

    async def send(message: Message) -> None:
        answered.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    async def once() -> object:
        answered.clear()
        scope: dict[str, Any] = {
            "type": "http",
            "path": "/graphql",
            "method": "POST",
            "headers": headers,
            "server": ("127.0.0.1", 8000),
            "state": {KEY_CACHE: key_cache},
        }
        await app(scope, receive, send)
        assert answered[0]["status"] == 200
        return answered

    return once


async def _fields(database: Database, caller: Caller, requests: int) -> Row:
    schema, stores = build_schema(Limits()), Stores(database)

    def asking(who: Caller) -> Once:
        async def once() -> object:
            result = await schema.execute(_QUERY, context_value=Context(stores, caller=who))
            who.require_role(Role.READER, "acme/none")
            assert result.errors is None
            return result.data

        return once

    row = await _compared(asking(caller), asking(ANONYMOUS_WRITER), requests)
    await stores.close()
    return row


async def _compared(keyed: Once, bare: Once, requests: int) -> Row:
    """Compare requests with and without a key; each time is the minimum of seven rounds."""
    rounds = [(await _timed(keyed, requests), await _timed(bare, requests)) for _ in range(7)]
    with_key, without = (min(times) * 1000 for times in zip(*rounds, strict=True))
    return Row(loomql_ms=with_key, floor_ms=without).held_to(_BOUND, max(with_key - without, 0.0))


async def _timed(once: Once, requests: int) -> float:
    """Return the mean seconds of one request."""
    await once()
    began = time.perf_counter()
    for _ in range(requests):
        await once()
    return (time.perf_counter() - began) / requests
