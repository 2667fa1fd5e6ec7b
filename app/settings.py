"""Everything that can be set, in one model: `LOOMQL_<NAME>` in the environment."""

from pathlib import Path

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """The settings of one server; the command's flags override the environment."""

    model_config = SettingsConfigDict(env_prefix="LOOMQL_", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address the server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the server listens on; 0 takes any free one.")
    workers: int = Field(1, ge=1, description="Server processes that share the port and the database.")
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("loomql", appauthor=False)),
        description="Folder of the embedded MongoDB; unused when LOOMQL_MONGODB_URI is set.",
    )
    mongodb_uri: str | None = Field(
        None, description="MongoDB 6 or later as a replica set, sharded cluster or Atlas; unset starts an embedded one."
    )
    mongodb_database: str = Field("loomql", description="Database that holds the collections.")
    mongod: Path | None = Field(
        None, description="mongod binary to embed; unset takes the one on the PATH, else the packaged one."
    )
    mongod_cache_gb: float = Field(1.0, ge=0.25, description="Memory for the embedded MongoDB's cache, in GiB.")
    database_timeout_seconds: float = Field(
        3.0, gt=0, description="How long to look for an unreachable database before answering UNAVAILABLE."
    )
    graphiql: bool = Field(True, description="Serve GraphiQL to browsers.")
    max_page_size: int = Field(10_000, ge=1, description="Largest `first` or `last` of a list.")
    max_body_bytes: int = Field(32 * MIB, ge=1024, description="Largest request body, in bytes.")
    max_query_depth: int = Field(20, ge=1, description="Deepest nesting of fields in a GraphQL document.")
    max_query_aliases: int = Field(100, ge=0, description="Most aliases in a GraphQL document.")
    max_query_tokens: int = Field(20_000, ge=100, description="Most tokens in a GraphQL document.")
    log_level: str = Field("info", description="Lowest level that is logged: debug, info, warning or error.")
