"""Which MongoDB a command works on: the one that the settings name, or one of its own."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.embedded_mongod import DataFolder, embedded_mongod
from app.settings import Settings, masked, variable

Client = MongoClient[dict[str, object]]

_USERINFO = re.compile(r"(?<=://).*@")
_DETAILS = re.compile(r",? (full error|Timeout|Hint): .*", re.DOTALL)


class MongodbUriError(Exception):
    """The URI of the settings cannot be understood; the message says what to change, and holds no password."""


@contextmanager
def mongodb(settings: Settings) -> Iterator[str]:
    """The URI of the server to work on; an embedded one runs for as long as the block lasts."""
    if settings.mongodb_uri is not None:
        check_uri(settings.mongodb_uri)
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


def check_uri(uri: str) -> None:
    """Find out, without sending anything, whether the driver understands a URI.

    Raises:
        MongodbUriError: it does not.
    """
    problem = _problem(uri)
    if problem is None:
        return
    # What is wrong with the rest can be said in the driver's words: they know no password then.
    elsewhere = _problem(_USERINFO.sub("", uri))
    if elsewhere is None:
        raise MongodbUriError(
            f"{variable('mongodb_uri')}: percent-encode every sign of the user and the password that is no letter "
            "and no digit: % is %25, / is %2F, : is %3A, @ is %40."
        )
    raise MongodbUriError(
        f"{variable('mongodb_uri')} is no URI of a MongoDB: {elsewhere.rstrip('.')}. "
        "Write mongodb://user:password@host:27017,host2:27017/?option=value."
    )


def driver_words(error: Exception) -> str:
    """What the driver says of a failure, on one line, its details and passwords left out."""
    told = error.strerror if isinstance(error, OSError) else None
    return masked(" ".join(_DETAILS.sub("", told or str(error)).split()))


def _problem(uri: str) -> str | None:
    try:
        Client(uri, connect=False).close()
    except (PyMongoError, ValueError, OSError) as error:
        return driver_words(error)
    return None
