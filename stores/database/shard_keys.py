"""The shard keys of the collections that grow with a project's data; all others stay on one shard.

Each key begins with the project, or with an id that does, so that the queries of a project touch only the shards that
have it. The rest of the key spreads a large project. Three rules limit the choice:

- A shard checks each document by its whole key, so an index without the whole key answers no covered query. Indexes of
  calls and feedback end in `id`, so their keys have `id`, not `_id`.
- An upsert must name the whole key, and no write may change it, so calls have no key by time or trace.
- A unique index must begin with the key.
"""

from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING, HASHED

SUPPORTING_INDEX: Final = "shard_key"
"""Name of an index that only sharding needs. `loomql shard` builds it; a replica set has none of them."""


@dataclass(frozen=True)
class ShardKey:
    """The shard key of a collection.

    Args:
        collection: the name of the collection.
        paths: the keys in order; `:hashed` marks a hashed one.
        spreads: the way in which the documents of one project spread.
        also: paths that the supporting index has in addition.
    """

    collection: str
    paths: str
    spreads: str
    also: str = ""

    @property
    def key(self) -> dict[str, Any]:
        """The shard key as MongoDB takes it."""
        return dict(self._keys(self.paths))

    @property
    def index_keys(self) -> list[tuple[str, Any]]:
        """The first keys of an index that supports it."""
        return self._keys(f"{self.paths} {self.also}")

    @staticmethod
    def _keys(paths: str) -> list[tuple[str, Any]]:
        split = (path.partition(":") for path in paths.split())
        return [(path, HASHED if kind else ASCENDING) for path, _, kind in split]


_BY_KEY: Final = "project_id _id"

SHARD_KEYS: Final = (
    ShardKey("calls", "project_id id:hashed", "evenly, by hashes of ids"),
    ShardKey("feedback", "project_id id:hashed", "evenly, by hashes of ids"),
    ShardKey("objects", "project_id kind object_id", "by name; versions of a name stay together"),
    ShardKey("object_heads", "project_id kind object_id", "by name"),
    ShardKey("tables", _BY_KEY, "evenly, by digest"),
    ShardKey("table_chunks", _BY_KEY, "evenly, by digest"),
    # Sizes of rows are summed from an index.
    ShardKey("table_rows", _BY_KEY, "evenly, by digest", also="size_bytes"),
    ShardKey("files.files", "project_id digest", "evenly, by digest"),
    ShardKey("files.chunks", "files_id n", "by upload; new files are on one shard until the balancer moves them"),
    ShardKey("rollups", "project_id unit started_at", "by time"),
    ShardKey("trace_totals", _BY_KEY, "evenly, by hashes of traces"),
    ShardKey("thread_totals", _BY_KEY, "evenly, by hashes of threads"),
    ShardKey("term_segments", _BY_KEY, "by time"),
    ShardKey("term_blocks", _BY_KEY, "by time"),
    ShardKey("search_segments", _BY_KEY, "by time"),
    ShardKey("search_words", _BY_KEY, "by time"),
)
