"""Secrets of providers: environment variables, the origins to which each may be sent, and their redaction.

URLs are limited to a form that all URL parsers read alike.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from stores.json import codec
from stores.providers import Endpoint, JsonObject, ProviderError

_HOST: Final = r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?"
_BASE_URL: Final = re.compile(rf"{_HOST}(?:/[A-Za-z0-9._~%:@!$&'()*+,;=/-]*)?")
_ANY_URL: Final = re.compile(rf"{_HOST}(?:[/?][\x21\x24-\x5b\x5d-\x7e]*)?")
_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65535
_MAX_LENGTH: Final = 8192

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET_HEADER: Final = re.compile(r"auth|key|token|secret|cookie|pass|credential|session|signature", re.IGNORECASE)
_PARTS: Final = re.compile(r"[^\s;,]+")
# Servers that need no key get words such as EMPTY as key; responses may contain such words.
SHORTEST_HIDDEN: Final = 12
HIDDEN: Final = "***"

_Path = tuple[str | int, ...]
_MAX_DEPTH: Final = 8
_MAX_PATHS: Final = 10_000


class Origin(NamedTuple):
    """Origin of a URL: scheme, lower-case host and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return `https://host`, with the port if it is not the scheme's default."""
        return f"{self.scheme}://{self.host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def origin_of_base_url(url: str, owner: str) -> Origin:
    """Return the origin of a base URL; `owner` is its owner's name in the error.

    Raises:
        ProviderError: the base URL has a form that LoomQL does not accept.
    """
    found = _origin(_BASE_URL, url)
    if found is None:
        raise ProviderError(
            f"The base URL of {owner} cannot be used: it must be https:// or http://, a host, perhaps a port and a "
            "path, such as https://llm.example.com/v1; without a user, a query or a fragment."
        )
    return found


def origin_of(url: str) -> Origin | None:
    """Return the origin of any URL, None if LoomQL does not accept its form."""
    return _origin(_ANY_URL, url)


def _origin(form: re.Pattern[str], url: str) -> Origin | None:
    match = form.fullmatch(url) if len(url) <= _MAX_LENGTH else None
    if match is None:
        return None
    scheme, host, digits = match.groups()
    port = int(digits or _PORTS[scheme])
    return Origin(scheme, host.lower(), port) if 0 < port <= _LAST_PORT else None


class Grant(NamedTuple):
    """A secret, and an origin to which custom providers may send it."""

    name: str
    origin: Origin


def parse_grants(text: str) -> frozenset[Grant]:
    """Parse a list of grants such as `ACME_KEY@llm.acme.com, OTHER_KEY@http://10.0.0.5:8000`.

    Raises:
        ValueError: an item is not a grant; the message describes the format.
    """
    grants = set()
    for item in filter(None, map(str.strip, text.split(","))):
        name, _, host = item.partition("@")
        origin = _origin_of_host(host)
        if origin is None or not _NAME.fullmatch(name):
            raise ValueError(
                f"{item!r} is not NAME@host, such as ACME_KEY@llm.acme.com or ACME_KEY@http://10.0.0.5:8000"
            )
        grants.add(Grant(name, origin))
    return frozenset(grants)


def parse_hosts(text: str) -> frozenset[Origin]:
    """Parse a list of hosts such as `gateway.acme.com, http://10.0.0.5:4000` to origins.

    Raises:
        ValueError: an item is not a host; the message describes the format.
    """
    hosts = set()
    for item in filter(None, map(str.strip, text.split(","))):
        origin = _origin_of_host(item)
        if origin is None:
            raise ValueError(f"{item!r} is no host, such as gateway.acme.com or http://10.0.0.5:4000")
        hosts.add(origin)
    return frozenset(hosts)


def _origin_of_host(host: str) -> Origin | None:
    try:
        return origin_of_base_url(host if "://" in host else f"https://{host}", "it")
    except ProviderError:
        return None


def secrets_of(endpoint: Endpoint) -> list[str]:
    """Return the secrets of an endpoint: its key, and the values of headers with secret names."""
    found = [endpoint.api_key or ""]
    for name, value in endpoint.headers.items():
        if _SECRET_HEADER.search(name):
            parts = _PARTS.findall(value)
            # Of cookies also each value, which follows its name.
            found += [value, *parts, *(part.partition("=")[2] for part in parts)]
    return sorted({secret for secret in found if len(secret) >= SHORTEST_HIDDEN}, key=len, reverse=True)


def parsed(text: bytes, secrets: Sequence[str]) -> object:
    """Parse a JSON text and hide secrets in it, however its strings are escaped.

    Raises:
        BadInputError: the text is not valid JSON.
    """
    value = codec.loads(text)
    # A text without escapes has only one spelling of each secret.
    plain = codec.encode(value) if b"\\" in text and secrets else text.decode()
    safe = plain
    for secret in secrets:
        safe = safe.replace(codec.encode(secret)[1:-1], HIDDEN)
    return value if safe == plain else codec.loads(safe.encode())


def hidden(text: str, endpoint: Endpoint) -> str:
    """Hide the secrets of an endpoint in a text, which may repeat them."""
    for secret in secrets_of(endpoint):
        text = text.replace(secret, HIDDEN)
    return text


def error_of(
    endpoint: Endpoint,
    request: JsonObject,
    text: str,
    status: int | None = None,
    retry_after_seconds: float | None = None,
) -> ProviderError:
    """Create an error that names the provider and the model of a request; `text` continues the sentence."""
    subject = f"{endpoint.provider} (model {str(request.get('model'))[:200]})"
    return ProviderError(f"{subject}{hidden(text, endpoint)}", status, retry_after_seconds)


class StreamedSecrets:
    """Hides secrets in the texts of chat completion chunks, even if a secret spans several chunks.

    The end of a text that may be the start of a secret is withheld until more text arrives or the choice ends.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._withheld: dict[_Path, str] = {}
        self._head: JsonObject = {}

    def passed(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """Yield a chunk with its secrets hidden, preceded by the withheld text of choices that it finishes."""
        choices = chunk.get("choices")
        if not self._secrets or not isinstance(choices, list):
            yield chunk
            return
        self._head = {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        finished = set()
        for choice in choices:
            if isinstance(choice, dict) and isinstance(index := choice.get("index", 0), int):
                is_finished = bool(choice.get("finish_reason"))
                if isinstance(choice.get("delta"), dict):
                    self._pass(choice["delta"], (index,), is_last=is_finished)
                if is_finished:
                    finished.add(index)
        yield from self._release([path for path in self._withheld if path[0] in finished])
        yield chunk

    def rest(self) -> Iterator[JsonObject]:
        """Yield the withheld text of all choices at the end of the stream."""
        yield from self._release(list(self._withheld))

    def _pass(self, delta: JsonObject, path: _Path, *, is_last: bool) -> None:
        for name, value in delta.items():
            if isinstance(value, str):
                delta[name] = self._safe((*path, name), value, is_last=is_last)
            elif len(path) < _MAX_DEPTH and isinstance(value, dict):
                self._pass(value, (*path, name), is_last=is_last)
            elif len(path) < _MAX_DEPTH and isinstance(value, list):
                for member in value:
                    if isinstance(member, dict) and isinstance(member.get("index"), int):
                        self._pass(member, (*path, name, member["index"]), is_last=is_last)

    def _safe(self, path: _Path, text: str, *, is_last: bool) -> str:
        text = self._withheld.pop(path, "") + text
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        partial = max(_partial_length(text, secret) for secret in self._secrets)
        if not partial or is_last or len(self._withheld) >= _MAX_PATHS:
            return _hide_partial(text, partial)
        self._withheld[path] = text[-partial:]
        return text[:-partial]

    def _release(self, paths: Sequence[_Path]) -> Iterator[JsonObject]:
        for path in paths:
            text = self._withheld.pop(path)
            delta: Any = _hide_partial(text, len(text))
            for step in reversed(path[1:]):
                delta = {step: delta} if isinstance(step, str) else [{"index": step, **delta}]
            yield {**self._head, "choices": [{"index": path[0], "delta": delta, "finish_reason": None}]}


def _partial_length(text: str, secret: str) -> int:
    """Return the length of the longest end of `text` that is a prefix of `secret`."""
    return next(
        (length for length in range(min(len(text), len(secret) - 1), 0, -1) if text.endswith(secret[:length])), 0
    )


def _hide_partial(text: str, partial: int) -> str:
    """Return the final text; hide its last `partial` characters if they are long enough to reveal a secret."""
    return text[:-partial] + HIDDEN if partial >= SHORTEST_HIDDEN else text
