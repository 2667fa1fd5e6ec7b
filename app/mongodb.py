"""Which MongoDB a command works on: the one that the settings name, or one of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.embedded_mongod import DataFolder, embedded_mongod
from app.settings import Settings, masked
from stores.database import Database


@contextmanager
def mongodb(settings: Settings) -> Iterator[str]:
    """The URI of the server to work on; an embedded one runs for as long as the block lasts."""
    if settings.mongodb_uri is not None:
        # Opening sends nothing, but finds out here, where one plain line can say so, that the URI makes no sense.
        Database.open(settings.mongodb_uri, settings.mongodb_database).close()
        yield settings.mongodb_uri
        return
    with embedded_mongod(settings.data_dir, settings.mongod, settings.mongod_cache_gb) as uri:
        yield uri


@contextmanager
def shared_mongodb(settings: Settings) -> Iterator[str]:
    """As `mongodb`, but where another LoomQL already runs the embedded one, that one's."""
    folder = DataFolder(settings.data_dir)
    if settings.mongodb_uri is None and folder.holder() is not None:
        yield folder.uri
        return
    with mongodb(settings) as uri:
        yield uri


def whereabouts(settings: Settings) -> str:
    """Where the data lies, for people: the server or the folder, without its password."""
    if settings.mongodb_uri is not None:
        return f"{masked(settings.mongodb_uri)} (database {settings.mongodb_database})"
    return f"{DataFolder(settings.data_dir).path} (embedded MongoDB, for this machine only)"
