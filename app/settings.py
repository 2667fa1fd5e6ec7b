"""Everything that can be set, in one model: `LOOMQL_<NAME>` in the environment."""

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Annotated, Final, Literal, NamedTuple, Self, get_args, get_origin

import platformdirs
from pydantic import AfterValidator, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.admission import MAX_OPERATIONS, MAX_SPOOLED_BYTES, MAX_WEBSOCKETS
from app.auth.oidc import check_url, parse_claim_grants
from app.browser_security import Origins
from app.providers.environment import TIMEOUT_SECONDS
from app.providers.secrets import parse_grants, parse_hosts
from stores.calls.events import MAX_EVENT_BYTES, MAX_SUBSCRIBERS
from stores.completions import MAX_CONCURRENT
from stores.concurrency.quotas import MAX_BYTES as MAX_PENDING_BYTES
from stores.errors import StoreError
from stores.files import MAX_FILE_BYTES
from stores.ids import check_project_part
from stores.otel.spans import ENTITY

MIB = 1024 * 1024
PREFIX = "LOOMQL_"

# Characters that MongoDB forbids in a database's name on some platform, and the maximum length in bytes.
_NOT_IN_DATABASE_NAMES = r"""/\. "$*<>:|?"""
_LONGEST_DATABASE_NAME = 63
_MONGODBS_OWN = frozenset({"admin", "config", "local"})

# An unescaped password may contain any character, even @, so masking ends at the last @.
_USERINFO = re.compile(r"(?<=://)([^:/@]*):.*@")
_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|properties)[^=&]*=)[^&]*", re.IGNORECASE)


Seconds = Annotated[float, Field(gt=0, le=3600)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1024)]


def _checked_by(parse: Callable[[str], object]) -> AfterValidator:
    """Return the validator of a text that the server parses where it uses it; `parse` raises a `ValueError`."""

    def check(text: str | None) -> str | None:
        if text is not None:
            parse(text)
        return text

    return AfterValidator(check)


def _check_mongodb_uri(uri: str) -> None:
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("must start with mongodb:// or mongodb+srv://")


def _check_database_name(name: str) -> None:
    if name in _MONGODBS_OWN:
        raise ValueError(f"{name} is a database of MongoDB's own; choose another name")
    if not 0 < len(name.encode()) <= _LONGEST_DATABASE_NAME or set(name) & {*_NOT_IN_DATABASE_NAMES, "\0"}:
        raise ValueError(
            f"must be 1 to {_LONGEST_DATABASE_NAME} bytes long, without spaces and without any of "
            f"{' '.join(_NOT_IN_DATABASE_NAMES.replace(' ', ''))}"
        )


def _check_entity(entity: str) -> None:
    try:
        check_project_part(entity, "otlp_entity")
    except StoreError as error:
        raise ValueError(error.message) from None


class Settings(BaseSettings):
    """The settings of one server; the command's flags override the environment.

    The text below a setting describes it to users.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address on which the server listens."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port on which the server listens; 0 picks a free port."""
    workers: Count = 1
    """Number of server processes; they share the port and the database."""
    demo: bool = False
    """Load the demo into the project demo/assistant at the start, unless it is there and less than a day old. While
    the server runs, write a few of the demo's calls a minute; a retention rule of 16 days keeps the project small."""
    shutdown_seconds: Seconds = 10.0
    """Time in which a stopping server answers accepted requests, and the same time again to finish writes. The
    process manager, such as systemd, should wait twice as long before it kills the server."""
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("loomql", appauthor=False)),
        json_schema_extra={"default": "the user's data folder"},
    )
    """Folder of the embedded MongoDB; unused if LOOMQL_MONGODB_URI is set."""
    mongodb_uri: Annotated[str | None, _checked_by(_check_mongodb_uri)] = Field(default=None, repr=False)
    """URI of a MongoDB 6.0 or 7.0 replica set, of one member or more; unset starts an embedded MongoDB."""
    mongodb_database: Annotated[str, _checked_by(_check_database_name)] = "loomql"
    """Name of the MongoDB database."""
    mongod: Path | None = None
    """mongod binary for the embedded MongoDB; unset takes the one on the PATH, or else the packaged one."""
    mongod_cache_gb: float = Field(default=1.0, ge=0.25, le=10_000)
    """Cache of the embedded MongoDB, in GiB."""
    database_timeout_seconds: Seconds = 3.0
    """Seconds that a request waits for an unreachable database; then the error is UNAVAILABLE."""
    query_timeout_seconds: Seconds = 60.0
    """Seconds that MongoDB may take for one list, count or lookup; then the error is TIMEOUT."""
    request_timeout_seconds: Seconds = 120.0
    """Seconds that a whole query may take, with all its database commands; then the error is TIMEOUT."""
    keys: Literal["auto", "required", "off"] = "auto"
    """When API keys are required. `auto`: once a key exists, and on any address but the loopback. `required`:
    always. `off`: never, on any address; then a proxy must authenticate the clients."""
    key: str | None = Field(default=None, repr=False)
    """API key that `loomql export` sends to the server."""
    oidc_issuer: Annotated[str | None, _checked_by(check_url)] = None
    """URL of an OpenID Connect issuer; the server accepts its tokens as well as API keys. Requires `loomql[oidc]`."""
    oidc_audience: str | None = None
    """Audience that a token must have."""
    oidc_grants: Annotated[str, _checked_by(parse_claim_grants)] = ""
    """Roles that the claims of a token grant, as `CLAIM=VALUE ROLE PROJECTS; …`. Example: `groups=ml writer acme/*;
    email_verified=true reader demo/assistant`."""
    oidc_client_id: str | None = None
    """Client id of the Explorer at the issuer. With it the Explorer signs in with an account of the issuer."""
    oidc_scopes: str = "openid profile email"
    """Scopes that the Explorer requests, separated by spaces; `openid` must be one of them."""
    admin: bool = False
    """Give the role admin to every client of a server without keys. The `loomql` commands do the same work without
    this setting."""
    explorer: bool = True
    """Serve the Explorer, a page to look at traces, at `/`."""
    graphiql: bool = True
    """Serve GraphiQL to browsers."""
    docs: bool = True
    """Serve the documentation at `/docs`, without a key."""
    introspection: bool = True
    """Answer `__schema` and `__type`, and suggest names for a misspelt field; GraphiQL needs both."""
    trusted_documents: Path | None = None
    """GraphQL documents that clients may request by hash: a JSON file from graphql-codegen, Relay or Apollo, or a
    folder of such files and of .graphql files."""
    only_trusted_documents: bool = False
    """Refuse all GraphQL documents except those of LOOMQL_TRUSTED_DOCUMENTS and of the Explorer."""
    cors_origins: Annotated[str, _checked_by(Origins.parse)] = ""
    """Origins whose pages may send requests and read answers, separated by commas, such as `https://app.acme.com,
    http://localhost:3000`. `*` allows every origin."""
    allowed_hosts: str = Field(default="", json_schema_extra={"default": "those of the loopback"})
    """Further host names to which a server without keys answers, separated by commas. `*` allows every name."""
    rate_limit: float | None = Field(default=None, gt=0)
    """Requests per second of one caller in one process; above it the error is RATE_LIMITED. A caller is an API key,
    or an address if there are no keys. Unset means no limit."""
    rate_burst: Count = 100
    """Requests that a caller may send at once after a pause, if LOOMQL_RATE_LIMIT is set."""
    max_operations: Count = MAX_OPERATIONS
    """Queries and mutations that run at once in one process. Another one waits up to 5 seconds; then the error is
    UNAVAILABLE."""
    max_caller_operations: int | None = Field(default=None, ge=1)
    """Queries and mutations of one caller that run at once; then the error is RATE_LIMITED. Unset means half of
    LOOMQL_MAX_OPERATIONS."""
    max_page_size: Count = 10_000
    """Largest `first` or `last` of a list."""
    max_body_bytes: Bytes = 32 * MIB
    """Largest request body, in bytes."""
    max_file_bytes: Bytes = MAX_FILE_BYTES
    """Largest file, in bytes; also the limit of all files of one multipart request together."""
    max_spooled_bytes: Bytes = MAX_SPOOLED_BYTES
    """Bytes of uploaded files that one process keeps in TMPDIR at once; then the error is UNAVAILABLE. One caller
    may use half; then the error is RATE_LIMITED."""
    max_pending_bytes: Bytes = MAX_PENDING_BYTES
    """Request bytes that one process holds while the database is slower than the clients. Another request waits 2
    seconds; then the error is UNAVAILABLE. One caller may use half; then the error is RATE_LIMITED."""
    max_exports: Count = 2
    """Exports of more than 500 rows that run at once in one process; then the error is UNAVAILABLE. Each one has a
    process of its own, of 70 MB, or of 150 MB for Parquet. One key may use half, but at least one; then the error
    is RATE_LIMITED."""
    max_subscriptions: Count = MAX_SUBSCRIBERS
    """Subscriptions to callEvents in one process; then the error is RATE_LIMITED."""
    max_caller_subscriptions: int | None = Field(default=None, ge=1)
    """Subscriptions of one caller; then the error is RATE_LIMITED. Unset means half of LOOMQL_MAX_SUBSCRIPTIONS."""
    max_websockets: Count = MAX_WEBSOCKETS
    """Open WebSockets in one process; then the error is UNAVAILABLE. One caller may open half; then the error is
    RATE_LIMITED."""
    max_connection_operations: Count = 100
    """Operations that run at once on one WebSocket, including subscriptions; then the error is RATE_LIMITED."""
    max_event_bytes: Bytes = MAX_EVENT_BYTES
    """Memory for recent call events in one process, in bytes. A subscription that falls further behind ends with a
    cursor to resume from."""
    otlp_entity: Annotated[str, _checked_by(_check_entity)] = ENTITY
    """Entity of OpenTelemetry programs that name no project; their project is LOOMQL_OTLP_ENTITY/service.name."""
    otlp_grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """Port for OTLP over gRPC; unset serves OTLP over HTTP only. Requires `loomql[grpc]`."""
    completion_timeout_seconds: Seconds = TIMEOUT_SECONDS
    """Seconds that a model provider may take for one answer; the `timeout` of a request may be shorter."""
    max_completions: Count = MAX_CONCURRENT
    """Completions that run at once in one process; then the error is UNAVAILABLE. A caller with a key may use half;
    then the error is RATE_LIMITED."""
    provider_secrets: Annotated[str, _checked_by(parse_grants)] = ""
    """Environment variables that custom providers may use as keys, each with the host that may receive it:
    `ACME_KEY@llm.acme.com, OTHER_KEY@http://10.0.0.5:8000`."""
    provider_headers: Annotated[str, _checked_by(parse_hosts)] = ""
    """Gateway hosts, separated by commas, to which the server sends the headers of requests and objects together
    with a key of its own: `gateway.acme.com, http://10.0.0.5:4000`."""
    allow_private_providers: bool = False
    """Allow base URLs of custom providers that lead to loopback, link-local and private addresses."""
    evaluation_rows: int = Field(default=8, ge=0, le=1000)
    """Rows of evaluations that run at once in one process. Each row calls the model, and then up to four scorers at
    once. 0 leaves evaluations to other processes on the same database."""
    max_query_depth: Count = 20
    """Largest nesting depth of fields in a GraphQL document."""
    max_query_aliases: int = Field(default=100, ge=0)
    """Largest number of aliases in a GraphQL document."""
    max_query_tokens: int = Field(default=20_000, ge=100)
    """Largest number of tokens in a GraphQL document."""
    max_query_characters: Bytes = 500_000
    """Largest number of characters in a GraphQL document; variables do not count."""
    max_query_cost: Count = 250_000
    """Largest cost of a GraphQL operation: roughly the number of objects that it may return."""
    max_input_values: int = Field(default=500_000, ge=1000)
    """Largest number of values in the variables of one GraphQL operation: list items and input fields, without the
    content of JSON values. The text of a request may have 1,600,000 values more, including JSON."""
    compiled_execution: bool = True
    """Execute lists, variables and resolvers by compiled functions; false uses graphql-core and Strawberry, which
    is slower and gives the same answers."""
    audit_log: Path | None = None
    """File of the audit log of the server and the commands: deletes, purges, changes of retention and keys, as JSON
    lines. Unset writes the lines to standard error."""
    metrics: bool = True
    """Count requests, and serve the metrics at /metrics for Prometheus."""
    otel_endpoint: str | None = None
    """OTLP over HTTP address that receives spans of the server's own requests and commands, such as
    http://127.0.0.1:4318/v1/traces; unset sends no spans. Requires `loomql[otel]`."""
    otel_service_name: str = "loomql"
    """Service name in the server's own spans."""
    log_format: Literal["text", "json"] = "text"
    """Format of log lines: `text`, or `json` for log collectors."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged: `debug` (includes every request), `info`, `warning` or `error`."""

    @model_validator(mode="after")
    def _can_use_tokens(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError("LOOMQL_OIDC_ISSUER takes LOOMQL_OIDC_AUDIENCE: an issuer makes tokens for others, too")
        if self.oidc_issuer is not None and self.keys == "off":
            raise ValueError(
                "LOOMQL_KEYS=off lets everybody in, so that nobody would be asked for a token of LOOMQL_OIDC_ISSUER: "
                "leave one of the two unset"
            )
        if self.oidc_client_id is not None and self.oidc_issuer is None:
            raise ValueError("LOOMQL_OIDC_CLIENT_ID takes LOOMQL_OIDC_ISSUER: the Explorer signs in there")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("LOOMQL_OIDC_SCOPES lacks openid, without which the issuer signs nobody in")
        return self


class Row(NamedTuple):
    """One setting for readers: its variable, the type with its bounds, the default, the meaning, and its group."""

    variable: str
    type: str
    default: str
    description: str
    group: str


_GROUPS: Final = {
    "host": "Server",
    "data_dir": "MongoDB",
    "database_timeout_seconds": "Timeouts",
    "keys": "Authentication",
    "explorer": "Web pages and GraphQL documents",
    "cors_origins": "Browsers",
    "rate_limit": "Requests and connections",
    "otlp_entity": "OpenTelemetry input",
    "completion_timeout_seconds": "Completions and evaluations",
    "max_query_depth": "GraphQL operations",
    "audit_log": "Logs, metrics and traces",
}
"""The groups of the model's fields, each by its first field."""

_TYPES: Final = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}


def variable(field: str) -> str:
    """Return the environment variable of a setting: `LOOMQL_DATA_DIR` of `data_dir`."""
    return f"{PREFIX}{field.upper()}"


def table() -> list[Row]:
    """Return every setting in the model's order."""
    rows, group = [], ""
    for name, field in Settings.model_fields.items():
        group = _GROUPS.get(name, group)
        extra = field.json_schema_extra
        default = extra["default"] if isinstance(extra, dict) else field.default
        description = " ".join((field.description or "").split())
        rows.append(Row(variable(name), _type(field), text(default) or "none", description, group))
    return rows


def _type(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    if get_origin(field.annotation) is Literal:
        *others, last = kinds
        return f"{', '.join(f'`{kind}`' for kind in others)} or `{last}`"
    signs = (("gt", "above"), ("ge", "at least"), ("le", "at most"))
    bounds = {
        sign: bound for each in field.metadata for sign, _ in signs if (bound := getattr(each, sign, None)) is not None
    }
    return ", ".join([_TYPES[kinds[0]], *(f"{words} {bounds[sign]:,}" for sign, words in signs if sign in bounds)])


def text(value: object) -> str:
    """Return a value as the environment would hold it; `unset` for None."""
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


def markdown_table() -> str:
    """Return a Markdown table for each group of settings, under its heading."""
    lines: list[str] = []
    for group, rows in groupby(table(), key=lambda row: row.group):
        lines += [f"## {group}", "", "| Setting | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| `{row.variable}` | {row.type} | {row.default} | {row.description} |" for row in rows]
        lines.append("")
    return "\n".join(lines).rstrip()


def masked(uri: str) -> str:
    """A MongoDB URI that may be shown: its passwords and tokens are `***`."""
    return _SECRET_OPTION.sub(r"\1***", _USERINFO.sub(r"\1:***@", uri))
