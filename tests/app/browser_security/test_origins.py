"""Tests of the origins and hosts that the server accepts as its own."""

import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers

from app.browser_security import Origins, is_same
from app.http.connections import allowed_hosts
from app.settings import Settings


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://loom.acme.com", "loom.acme.com:443", True),
        ("https://loom.acme.com:443", "LOOM.acme.com", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", False),
        ("http://localhost:8000", "127.0.0.1:8000", False),
        ("https://loom.acme.com.evil.com", "loom.acme.com", False),
        ("null", "null", False),
        ("", "", False),
        ("http://[half", "127.0.0.1", False),
        ("http://a:99999999", "a", False),
    ],
)
def test_origin_matches_the_host_or_not(origin: str, host: str, same: bool) -> None:  # noqa: FBT001 -- of a table
    assert is_same(origin, host) is same


OURS, EVIL = {"host": "127.0.0.1:8000"}, "https://evil.example"


@pytest.mark.parametrize(
    ("method", "headers", "refused"),
    [
        ("POST", {}, False),
        ("POST", {"origin": "http://127.0.0.1:8000"}, False),
        ("POST", {"origin": EVIL}, True),
        ("POST", {"origin": "null"}, True),
        ("GET", {"origin": EVIL}, True),
        (None, {"origin": EVIL}, True),
        ("POST", {"sec-fetch-site": "same-origin", "origin": EVIL}, False),  # behind a proxy that has another name
        ("POST", {"sec-fetch-site": "cross-site"}, True),
        ("POST", {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),  # a user follows a link
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, True),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "origin": "null"}, True),  # a form
        ("GET", {"sec-fetch-site": "none"}, False),
    ],
)
def test_cross_origin_pages_are_refused(method: str | None, headers: dict[str, str], refused: bool) -> None:  # noqa: FBT001 -- of a table
    assert Origins().refuses(method, Headers(OURS | headers)) is refused
    assert Origins({EVIL, "null"}).refuses(method, Headers(OURS | {"origin": EVIL})) is False


def test_origins_setting_is_read_as_browsers_send_it() -> None:
    origins = Origins.parse(" https://App.acme.com:443/ , http://localhost:3000,http://[::1]:80 ")

    assert set(origins) == {"https://app.acme.com", "http://localhost:3000", "http://[::1]"}
    assert Origins.parse("*").allows("https://anybody.example")
    assert not Origins.parse("*").allows(None)
    assert not Origins.parse("")


@pytest.mark.parametrize(
    "text",
    ["acme.com", "ftp://acme.com", "https://acme.com/app", "https://u@acme.com", "https://[x", "https://", "null"],
)
def test_invalid_origin_fails_startup(text: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        Settings(cors_origins=text)


def test_loopback_server_allows_loopback_and_configured_names_only() -> None:
    assert allowed_hosts("127.0.0.1", "") == frozenset()
    assert allowed_hosts("::1", "Loom.local, [fd00::1]") == frozenset({"loom.local", "fd00::1"})
    assert allowed_hosts("127.0.0.1", "*") is None
    assert allowed_hosts("0.0.0.0", "") is None  # noqa: S104 -- read, not bound
    assert "loom.acme.com" in (allowed_hosts("0.0.0.0", "loom.acme.com") or ())  # noqa: S104 -- as above
