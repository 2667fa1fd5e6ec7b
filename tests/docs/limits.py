"""The table of `reference/limits.md`: each limit of a server, its setting and the response beyond it."""

import re
from collections.abc import Iterator
from typing import Final

from app.admission import DOCUMENT_SLOT_CHARACTERS, MAX_DOCUMENTS, MAX_QUERIES
from app.graphql_http.multipart import MAX_FILES
from app.otlp.endpoint import MAX_VALUES as MAX_OTLP_VALUES
from app.server.http_protocol import MAX_HEAD_BYTES, MAX_HEADERS, HTTPProtocol
from app.settings import PREFIX, Settings, text
from app.websocket import endpoint, protocol
from graphql_schema.execution.executor import MAX_CONCURRENT_ROOT_FIELDS
from stores.database import connection
from stores.json import incremental
from stores.query import fields, parser, sort, text_expressions
from stores.timings import DEFAULT_TIMINGS

_BUSY: Final = f"503 `UNAVAILABLE` after {DEFAULT_TIMINGS.slot_wait_seconds:g} s"
_CLIENT_TIMEOUT: Final = f"{DEFAULT_TIMINGS.client_timeout_seconds:g}"
_CALLER_BUSY: Final = f"429 `RATE_LIMITED` after {DEFAULT_TIMINGS.slot_wait_seconds:g} s"
_BAD_INPUT: Final = "`BAD_USER_INPUT`"
_TOO_COMPLEX: Final = "`QUERY_TOO_COMPLEX`"
_TOO_LARGE: Final = "413 `PAYLOAD_TOO_LARGE`"

_Limit = tuple[str, str, str]
"""A subject, its limit, and the answer to a request above it; names in capitals are settings."""

_SETTING: Final = re.compile(rf"\b(?:{'|'.join(map(str.upper, Settings.model_fields))})\b")

GROUPS: Final[dict[str, tuple[_Limit, ...]]] = {
    "Requests and connections": (
        (
            "Request head: request line, headers and trailers",
            f"{MAX_HEAD_BYTES // 1024} KiB, {MAX_HEADERS} headers, {HTTPProtocol.head_seconds:g} s",
            "431 or 408, then the server closes the connection",
        ),
        ("Body, WebSocket message", "MAX_BODY_BYTES", f"{_TOO_LARGE}; WebSocket close code 1009"),
        (
            "Time to send a body",
            "16,000 bytes/s after 30 s, 150 s in all; files and forms with little text have no total",
            "408 `TIMEOUT`",
        ),
        ("Gzip members in a body", "1,000", "400"),
        ("Requests per second of one caller", "RATE_LIMIT, RATE_BURST", "429 `RATE_LIMITED`"),
        (
            "Time in which a client reads nothing of an answer",
            f"{HTTPProtocol.write_seconds:g} s; {_CLIENT_TIMEOUT} s for event streams and WebSockets",
            "the server closes the connection",
        ),
        ("Requests of pages from other origins", "CORS_ORIGINS", "403 `FORBIDDEN`"),
        ("Requests to other host names", "ALLOWED_HOSTS", "403 `FORBIDDEN`"),
    ),
    "Memory and files": (
        ("Request bytes in memory", "MAX_PENDING_BYTES", "503 `UNAVAILABLE` after 2 s"),
        ("Request bytes in memory of one caller", "half of MAX_PENDING_BYTES", "429 `RATE_LIMITED`"),
        ("Memory for one body or message", "4 times MAX_PENDING_BYTES", f"{_TOO_LARGE}; WebSocket close code 1009"),
        ("One file; all files of one multipart request", "MAX_FILE_BYTES", _TOO_LARGE),
        ("Files in one multipart request", f"{MAX_FILES}", _BAD_INPUT),
        ("Uploaded files on disk", "MAX_SPOOLED_BYTES", "503 `UNAVAILABLE`"),
        ("Uploaded files on disk of one caller", "half of MAX_SPOOLED_BYTES", "429 `RATE_LIMITED`"),
        (
            "Values in the JSON of a request, before it is parsed",
            f"MAX_INPUT_VALUES, plus {incremental.MAX_VALUES:,}; OTLP: {MAX_OTLP_VALUES:,}",
            _TOO_LARGE,
        ),
        (
            "Strings, lists and objects in a `/weave` batch above 256 KiB",
            f"{incremental.MAX_TOKENS:,}",
            "413",
        ),
    ),
    "GraphQL operations": (
        ("Depth of a document", "MAX_QUERY_DEPTH", _TOO_COMPLEX),
        ("Aliases in a document", "MAX_QUERY_ALIASES", _TOO_COMPLEX),
        ("Tokens in a document", "MAX_QUERY_TOKENS", _TOO_COMPLEX),
        ("Characters in a document", "MAX_QUERY_CHARACTERS", _TOO_COMPLEX),
        ("Values in the variables", "MAX_INPUT_VALUES", _TOO_COMPLEX),
        ("Cost of an operation", "MAX_QUERY_COST", _TOO_COMPLEX),
        ("Page size of a list", "MAX_PAGE_SIZE", _BAD_INPUT),
        ("Introspection", "INTROSPECTION", "`FORBIDDEN`"),
        ("Documents that are not trusted", "ONLY_TRUSTED_DOCUMENTS", "403 `FORBIDDEN`"),
        ("Time of one MongoDB command of a query", "QUERY_TIMEOUT_SECONDS", "504 `TIMEOUT`"),
        ("Time of a whole query", "REQUEST_TIMEOUT_SECONDS", "504 `TIMEOUT`"),
    ),
    "Concurrent work": (
        ("Queries and mutations", "MAX_OPERATIONS", _BUSY),
        ("Queries and mutations of one caller", "MAX_CALLER_OPERATIONS", _CALLER_BUSY),
        ("Queries", f"{MAX_QUERIES}", _BUSY),
        ("Queries of one caller", f"{MAX_QUERIES // 2}", _CALLER_BUSY),
        (
            f"Documents above {DOCUMENT_SLOT_CHARACTERS:,} characters that the server parses and validates at once",
            f"{MAX_DOCUMENTS}; {MAX_DOCUMENTS // 2} of one caller",
            f"{_BUSY}; {_CALLER_BUSY} for one caller",
        ),
        ("Root fields of one query", f"{MAX_CONCURRENT_ROOT_FIELDS}", "the other fields wait"),
        (
            "Scans, aggregations and searches",
            f"{connection.MAX_SCANS}; {connection.MAX_SCANS // 2} of one caller",
            f"the others wait; 503 `UNAVAILABLE` after {connection.SCAN_WAIT_SECONDS:g} s",
        ),
        ("Completions", "MAX_COMPLETIONS", "503 `UNAVAILABLE`"),
        ("Completions of one caller with a key or token", "half of MAX_COMPLETIONS", "429 `RATE_LIMITED`"),
        ("Exports", "MAX_EXPORTS", "503 `UNAVAILABLE`"),
        ("Exports of one caller with a key or token", "half of MAX_EXPORTS", "429 `RATE_LIMITED`"),
    ),
    "WebSockets and subscriptions": (
        ("Open WebSockets", "MAX_WEBSOCKETS", "503 `UNAVAILABLE`"),
        (
            "Open WebSockets of one caller",
            "half of MAX_WEBSOCKETS",
            "429 `RATE_LIMITED`; close code 1013 after `connection_init`",
        ),
        ("Messages before `connection_ack`", "32 KiB; 64 KiB unread in all", "close code 1009"),
        ("Time to send a message", "16,000 bytes/s after 30 s, 150 s in all", "close code 4408"),
        (
            "Messages in memory",
            "MAX_PENDING_BYTES; half for one caller",
            "as for bodies, for an operation of up to 64 KiB; otherwise close code 1013",
        ),
        ("Operations on one WebSocket", "MAX_CONNECTION_OPERATIONS", "`RATE_LIMITED`"),
        (
            "Queries and mutations of one WebSocket that run or whose results are unsent",
            f"{endpoint.MAX_RUNNING}",
            "the others wait",
        ),
        (
            "Pings and pongs, and fragments below 128 bytes",
            f"{protocol.PINGS_PER_SECOND} a second, {protocol.PING_BURST} at once",
            f"close code {protocol.TOO_MANY_PINGS}",
        ),
        ("Subscriptions", "MAX_SUBSCRIPTIONS", "`RATE_LIMITED`"),
        ("Subscriptions of one caller", "MAX_CALLER_SUBSCRIPTIONS", "`RATE_LIMITED`"),
    ),
    "Conditions and sorts": (
        ("Operations, fields and literals in a query", f"{parser.MAX_NODES:,}", _BAD_INPUT),
        ("Fields in a query", f"{parser.MAX_FIELD_ACCESSES:,}", _BAD_INPUT),
        ("Keys in all paths of a query", f"{parser.MAX_TOTAL_PATH_KEYS:,}", _BAD_INPUT),
        ("Keys in one path", f"{fields.MAX_PATH_KEYS}", _BAD_INPUT),
        ("Characters in one path", f"{fields.MAX_PATH_LENGTH:,}", _BAD_INPUT),
        ("Nesting of a query", f"{parser.MAX_DEPTH} levels", _BAD_INPUT),
        ("Characters in a literal", f"{parser.MAX_LITERAL_LENGTH:,}", _BAD_INPUT),
        ("Characters in a text with `caseInsensitive`", f"{text_expressions.MAX_FOLDED_LENGTH:,}", _BAD_INPUT),
        ("Keys in a sort", f"{sort.MAX_KEYS}", _BAD_INPUT),
    ),
    "Model providers": (
        ("Headers that a request adds", "PROVIDER_HEADERS", "`PROVIDER_ERROR`"),
        ("Time of one answer", "COMPLETION_TIMEOUT_SECONDS", "`PROVIDER_ERROR`"),
    ),
}


def limits() -> str:
    """Return a table of limits for each group, under its heading."""
    return "\n".join(_lines()).rstrip()


def _lines() -> Iterator[str]:
    for group, rows in GROUPS.items():
        yield from (f"### {group}", "", "| Subject | Limit | Default | Answer |", "| --- | --- | --- | --- |")
        for subject, limit, answer in rows:
            named = _SETTING.sub(lambda name: f"[`{PREFIX}{name[0]}`](settings.md)", limit)
            yield f"| {subject} | {named} | {', '.join(_defaults(limit))} | {answer} |"
        yield ""


def _defaults(limit: str) -> Iterator[str]:
    """Yield the defaults of the settings that a limit names."""
    for name in _SETTING.findall(limit):
        default = Settings.model_fields[name.lower()].default
        yield f"{default:,}" if isinstance(default, int) and not isinstance(default, bool) else text(default) or "none"
