"""Everything that can be set, in one model: `LOOMQL_<NAME>` in the environment."""

import re
from pathlib import Path
from typing import Literal, NamedTuple, Self

import platformdirs
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.access.oidc.documents import check_url
from app.access.oidc.grants import parse_claim_grants
from app.browsers.origins import Origins
from app.providers.environment import TIMEOUT_SECONDS
from app.providers.secrets import parse_grants, parse_hosts
from app.spool_space import MAX_BYTES as MAX_SPOOLED_BYTES
from app.traffic.places import MOST_OPERATIONS
from app.traffic.websockets import MOST_WEBSOCKETS
from stores.calls.watching import MAX_EVENT_BYTES, MAX_SUBSCRIBERS
from stores.completions import MAX_AT_ONCE
from stores.errors import StoreError
from stores.files import MAX_FILE_BYTES
from stores.ids import check_project_part
from stores.intake import MAX_BYTES as MAX_PENDING_BYTES
from stores.otel.projects import ENTITY

MIB = 1024 * 1024
PREFIX = "LOOMQL_"

# What MongoDB forbids in a database's name, on any platform, and the most bytes it takes.
_NOT_IN_DATABASE_NAMES = r"""/\. "$*<>:|?"""
_LONGEST_DATABASE_NAME = 63
_MONGODBS_OWN = frozenset({"admin", "config", "local"})

# A password may hold any sign when its author forgot to escape it: what is hidden ends at the last @.
_USERINFO = re.compile(r"(?<=://)([^:/@]*):.*@")
_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|properties)[^=&]*=)[^&]*", re.IGNORECASE)


class Settings(BaseSettings):
    """The settings of one server; the command's flags override the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the server listens on; 0 takes any free one.")
    workers: int = Field(default=1, ge=1, description="Server processes that share the port and the database.")
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("loomql", appauthor=False)),
        description="Folder of the embedded MongoDB; unused when LOOMQL_MONGODB_URI is set.",
        json_schema_extra={"default": "the user's data folder"},
    )
    mongodb_uri: str | None = Field(
        default=None,
        repr=False,
        description="MongoDB 6.0 or 7.0 as a replica set, of one member or more; unset starts an embedded one.",
    )
    mongodb_database: str = Field(default="loomql", description="Database that holds the collections.")
    mongod: Path | None = Field(
        default=None, description="mongod binary to embed; unset takes the one on the PATH, else the packaged one."
    )
    mongod_cache_gb: float = Field(
        default=1.0, ge=0.25, le=10_000, description="Memory for the embedded MongoDB's cache, in GiB."
    )
    database_timeout_seconds: float = Field(
        default=3.0,
        gt=0,
        le=3600,
        description="How long to look for an unreachable database before answering UNAVAILABLE.",
    )
    query_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="How long the database may take over one list, count or look-up before the answer is TIMEOUT.",
    )
    request_timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="How long one query may take as a whole, all that it asks the database together, before the answer "
        "is TIMEOUT.",
    )
    keys: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Whether keys are required: `auto` as soon as there is one, and on any address but the loopback; "
        "`required` always; `off` never, on any address, where something before the server says who may come in.",
    )
    key: str | None = Field(default=None, repr=False, description="Key that `loomql export` sends to the server.")
    oidc_issuer: str | None = Field(
        default=None,
        description="URL of an OpenID Connect issuer, whose tokens are taken beside keys. It needs `loomql[oidc]`.",
    )
    oidc_audience: str | None = Field(default=None, description="Audience that its tokens must be for.")
    oidc_grants: str = Field(
        default="",
        json_schema_extra={"default": "none"},
        description="What the claims of its tokens grant: `CLAIM=VALUE ROLE PROJECTS; …`, such as "
        "`groups=ml writer acme/*; email_verified=true reader demo/assistant`.",
    )
    admin: bool = Field(
        default=False,
        description="Where there are no keys, open to whoever reaches the server what takes the role admin. The "
        "command can do all of it without this.",
    )
    graphiql: bool = Field(default=True, description="Serve GraphiQL to browsers.")
    docs: bool = Field(default=True, description="Serve the documentation at `/docs`, without a key.")
    introspection: bool = Field(
        default=True,
        description="Answer `__schema` and `__type`, and name fields that are near a misspelt one; GraphiQL needs it.",
    )
    trusted_documents: Path | None = Field(
        default=None,
        description="GraphQL documents that clients may ask for by their hash: a JSON file such as that of "
        "graphql-codegen, Relay or Apollo, or a folder of them and of .graphql files.",
    )
    only_trusted_documents: bool = Field(
        default=False, description="Run no GraphQL documents but those of LOOMQL_TRUSTED_DOCUMENTS."
    )
    cors_origins: str = Field(
        default="",
        json_schema_extra={"default": "none"},
        description="Origins whose pages may ask and read answers, with commas between them: "
        "`https://app.acme.com, http://localhost:3000`; `*` is every one.",
    )
    allowed_hosts: str = Field(
        default="",
        json_schema_extra={"default": "those of the loopback"},
        description="Further names that a server without keys answers to, with commas between them; `*` is every one.",
    )
    rate_limit: float | None = Field(
        default=None,
        gt=0,
        description="Requests a second that one process answers to one caller: a key, or without keys an address; "
        "whoever sends more is answered RATE_LIMITED. Unset leaves it off.",
    )
    rate_burst: int = Field(
        default=100, ge=1, description="Requests that such a caller may send at once, after some time without any."
    )
    max_operations: int = Field(
        default=MOST_OPERATIONS,
        ge=1,
        description="Queries and mutations that one process runs at once; whoever asks for more waits up to five "
        "seconds, and is then answered UNAVAILABLE.",
    )
    max_caller_operations: int | None = Field(
        default=None,
        ge=1,
        description="The same for one caller, a key or without keys an address, who is then answered RATE_LIMITED; "
        "unset lets one caller have half.",
    )
    max_page_size: int = Field(default=10_000, ge=1, description="Largest `first` or `last` of a list.")
    max_body_bytes: int = Field(default=32 * MIB, ge=1024, description="Largest request body, in bytes.")
    max_file_bytes: int = Field(
        default=MAX_FILE_BYTES,
        ge=1024,
        description="Largest file, in bytes; what one multipart request sends of files together.",
    )
    max_spooled_bytes: int = Field(
        default=MAX_SPOOLED_BYTES,
        ge=1024,
        description="Bytes of files from multipart requests that one process keeps on the disk at once, in TMPDIR; "
        "whoever sends more is answered UNAVAILABLE. One caller may have half, and is then answered RATE_LIMITED.",
    )
    max_pending_bytes: int = Field(
        default=MAX_PENDING_BYTES,
        ge=1024,
        description="Request bytes that one process holds at once while the database is slower than its clients; "
        "whoever sends more waits for two seconds and is then answered UNAVAILABLE. One caller may have half, and is "
        "then answered RATE_LIMITED.",
    )
    max_exports: int = Field(
        default=2,
        ge=1,
        description="Exports of more than 500 rows that one process runs at once, each in a process of its own of some "
        "70 MB, or 150 for Parquet; whoever asks for more is answered UNAVAILABLE. One key may have half, or the only "
        "one, and is then answered RATE_LIMITED.",
    )
    max_subscriptions: int = Field(
        default=MAX_SUBSCRIBERS,
        ge=1,
        description="Subscriptions to callEvents that one process serves at once; whoever asks for more is answered "
        "RATE_LIMITED.",
    )
    max_caller_subscriptions: int | None = Field(
        default=None,
        ge=1,
        description="The same for one caller, a key or without keys an address; unset lets one caller have half.",
    )
    max_websockets: int = Field(
        default=MOST_WEBSOCKETS,
        ge=1,
        description="WebSockets that one process has open at once; one more is answered UNAVAILABLE. One caller may "
        "have half, and is then answered RATE_LIMITED.",
    )
    max_connection_operations: int = Field(
        default=100,
        ge=1,
        description="Operations, subscriptions among them, that one WebSocket runs at once; whoever asks for more is "
        "answered RATE_LIMITED.",
    )
    max_event_bytes: int = Field(
        default=MAX_EVENT_BYTES,
        ge=1024,
        description="Memory for recent events of calls, in bytes, that one process keeps for those who watch; whoever "
        "falls further behind is told where to resume.",
    )
    otlp_entity: str = Field(
        default=ENTITY,
        description="Entity of the projects of OpenTelemetry programs that name none: LOOMQL_OTLP_ENTITY/service.name.",
    )
    otlp_grpc_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port for OTLP over gRPC, beside that of HTTP; unset leaves it off. It needs `loomql[grpc]`.",
    )
    completion_timeout_seconds: float = Field(
        default=TIMEOUT_SECONDS,
        gt=0,
        le=3600,
        description="How long a provider of models may take over one answer; a request's own `timeout` may be shorter.",
    )
    max_completions: int = Field(
        default=MAX_AT_ONCE,
        ge=1,
        description="Completions that clients of one process have under way at once, a caller with a key half of them; "
        "whoever asks for more is answered UNAVAILABLE, or RATE_LIMITED.",
    )
    provider_secrets: str = Field(
        default="",
        json_schema_extra={"default": "none"},
        description="Which variables of the server's environment custom providers may use as their key, each with the "
        "host that it may be sent to: `ACME_KEY@llm.acme.com, OTHER_KEY@http://10.0.0.5:8000`.",
    )
    provider_headers: str = Field(
        default="",
        json_schema_extra={"default": "none"},
        description="Hosts of gateways, with commas between them, that are sent whatever headers requests and objects "
        "ask for beside a key of the server's: `gateway.acme.com, http://10.0.0.5:4000`.",
    )
    allow_private_providers: bool = Field(
        default=False,
        description="Let custom providers be in the server's own network: their base URLs may lead to loopback, "
        "link-local and private addresses.",
    )
    evaluation_rows: int = Field(
        default=8,
        ge=0,
        le=1000,
        description="Rows of evaluations that one process works on at once: each asks the model, and then its scorers, "
        "four at a time; 0 leaves evaluations to other processes over the database.",
    )
    max_query_depth: int = Field(default=20, ge=1, description="Deepest nesting of fields in a GraphQL document.")
    max_query_aliases: int = Field(default=100, ge=0, description="Most aliases in a GraphQL document.")
    max_query_tokens: int = Field(default=20_000, ge=100, description="Most tokens in a GraphQL document.")
    max_query_characters: int = Field(
        default=500_000,
        ge=1024,
        description="Most characters in a GraphQL document, each of which takes time to read; variables have no part "
        "in it.",
    )
    max_query_cost: int = Field(
        default=250_000,
        ge=1,
        description="What one GraphQL operation may cost: about the objects that it may return, page sizes multiplied.",
    )
    max_input_values: int = Field(
        default=500_000,
        ge=1000,
        description="Most values in the variables of one GraphQL operation: members of lists and fields of inputs, "
        "whatever is inside JSON not counted. A request's whole text has at most 1,600,000 values more, JSON included.",
    )
    compiled_execution: bool = Field(
        default=True,
        description="Make the rows of lists and coerce variables by compiled functions, and call resolvers directly; "
        "false leaves it to graphql-core and Strawberry, and only costs time.",
    )
    audit_log: Path | None = Field(
        default=None,
        description="File that is told, a line of JSON each, of deletes, purges, retention and keys, by the server and "
        "by commands; unset has each tell it to standard error.",
    )
    metrics: bool = Field(default=True, description="Serve /metrics for Prometheus, and count what it tells.")
    otel_endpoint: str | None = Field(
        default=None,
        description="Address of OTLP over HTTP that gets spans of the server's own requests and commands, such as "
        "http://127.0.0.1:4318/v1/traces; unset traces nothing. It needs `loomql[otel]`.",
    )
    otel_service_name: str = Field(default="loomql", description="The service that those spans are said to be of.")
    shutdown_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="How long a server that stops goes on with requests that it accepted, and then with what is still "
        "to be written; whoever stops it, such as systemd, should wait for twice as long before it kills.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of the log's lines: text for people, json for what collects logs."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged: debug (every request, too), info, warning or error."
    )

    @field_validator("mongodb_uri")
    @classmethod
    def _names_mongodb(cls, uri: str | None) -> str | None:
        if uri is not None and not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        return uri

    @field_validator("mongodb_database")
    @classmethod
    def _names_a_database(cls, name: str) -> str:
        if name in _MONGODBS_OWN:
            raise ValueError(f"{name} is a database of MongoDB's own; choose another name")
        if not 0 < len(name.encode()) <= _LONGEST_DATABASE_NAME or set(name) & {*_NOT_IN_DATABASE_NAMES, "\0"}:
            raise ValueError(
                f"must be 1 to {_LONGEST_DATABASE_NAME} bytes long, without spaces and without any of "
                f"{' '.join(_NOT_IN_DATABASE_NAMES.replace(' ', ''))}"
            )
        return name

    @field_validator("provider_secrets")
    @classmethod
    def _grants_secrets(cls, text: str) -> str:
        parse_grants(text)
        return text

    @field_validator("oidc_issuer")
    @classmethod
    def _is_an_issuer(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url)

    @field_validator("oidc_grants")
    @classmethod
    def _grants_to_claims(cls, text: str) -> str:
        parse_claim_grants(text)
        return text

    @model_validator(mode="after")
    def _names_an_audience(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError("LOOMQL_OIDC_ISSUER takes LOOMQL_OIDC_AUDIENCE: an issuer makes tokens for others, too")
        return self

    @model_validator(mode="after")
    def _asks_for_tokens(self) -> Self:
        if self.oidc_issuer is not None and self.keys == "off":
            raise ValueError(
                "LOOMQL_KEYS=off lets everybody in, so that nobody would be asked for a token of LOOMQL_OIDC_ISSUER: "
                "leave one of the two unset"
            )
        return self

    @field_validator("cors_origins")
    @classmethod
    def _names_origins(cls, text: str) -> str:
        Origins.parse(text)
        return text

    @field_validator("provider_headers")
    @classmethod
    def _names_gateways(cls, text: str) -> str:
        parse_hosts(text)
        return text

    @field_validator("otlp_entity")
    @classmethod
    def _is_an_entity(cls, entity: str) -> str:
        try:
            check_project_part(entity, "otlp_entity")
        except StoreError as error:
            raise ValueError(error.message) from None
        return entity


class Row(NamedTuple):
    """One setting as people read about it."""

    variable: str
    default: str
    description: str


def variable(field: str) -> str:
    """The environment variable of a setting: `data_dir` is `LOOMQL_DATA_DIR`."""
    return f"{PREFIX}{field.upper()}"


def table() -> list[Row]:
    """Every setting in the model's order, with its default as text (`unset` for none)."""
    rows = []
    for name, field in Settings.model_fields.items():
        told = field.json_schema_extra
        default = told["default"] if isinstance(told, dict) else field.default
        rows.append(Row(variable(name), text(default), field.description or ""))
    return rows


def text(value: object) -> str:
    """A setting's value as it would be written in the environment; `unset` for None."""
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


def markdown_table() -> str:
    """The table in the form that the README holds."""
    lines = ["| Setting | Default | Meaning |", "| --- | --- | --- |"]
    lines += [f"| `{row.variable}` | {row.default} | {row.description} |" for row in table()]
    return "\n".join(lines)


def masked(uri: str) -> str:
    """A MongoDB URI that may be shown: its passwords and tokens are `***`."""
    return _SECRET_OPTION.sub(r"\1***", _USERINFO.sub(r"\1:***@", uri))
