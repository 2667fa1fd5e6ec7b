"""The MongoDB server of a command: the one of the settings, or an embedded one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.embedded_mongod import DataFolder, embedded_mongod
from app.settings import Settings, masked, variable
from stores.errors import StoreError

Client = MongoClient[dict[str, object]]

_USERINFO = re.compile(r"(?<=://).*@")
_DETAILS = re.compile(r" \(configured timeouts: [^)]*\)|,? (full error|Timeout|Hint): .*", re.DOTALL)


class MongodbUriError(StoreError):
    """The configured MongoDB URI is invalid; the message says what to change and contains no password."""


@contextmanager
def mongodb(settings: Settings) -> Iterator[str]:
    """Yield the URI of the configured server, or of an embedded one that runs until the end of the block."""
    if settings.mongodb_uri is not None:
        check_uri(settings.mongodb_uri)
        yield settings.mongodb_uri
        return
    with embedded_mongod(
        settings.data_dir, settings.mongod, settings.mongod_cache_gb, settings.query_timeout_seconds
    ) as uri:
        yield uri


@contextmanager
def shared_mongodb(settings: Settings) -> Iterator[str]:
    """Yield the URI like `mongodb`, but join an embedded server that another LoomQL process already runs."""
    folder = DataFolder(settings.data_dir)
    if settings.mongodb_uri is None and folder.holder() is not None:
        yield folder.uri
        return
    with mongodb(settings) as uri:
        yield uri


def data_location(settings: Settings) -> str:
    """Return the server or the data folder for display, without passwords."""
    if settings.mongodb_uri is not None:
        return f"{masked(settings.mongodb_uri)} (database {settings.mongodb_database})"
    return f"{DataFolder(settings.data_dir).path} (embedded MongoDB, for this machine only)"


def check_uri(uri: str) -> None:
    """Check that the driver can parse a URI, without connecting.

    Raises:
        MongodbUriError: it cannot.
    """
    problem = _problem(uri)
    if problem is None:
        return
    # Without user and password, the driver's message can quote no secret.
    other_problem = _problem(_USERINFO.sub("", uri))
    if other_problem is None:
        raise MongodbUriError(
            f"{variable('mongodb_uri')}: percent-encode every character of the user name and the password that is "
            "neither a letter nor a digit: % is %25, / is %2F, : is %3A, @ is %40."
        )
    raise MongodbUriError(
        f"{variable('mongodb_uri')} is not a valid MongoDB URI: {other_problem.rstrip('.')}. "
        "Write mongodb://user:password@host:27017,host2:27017/?option=value."
    )


def driver_message(error: Exception) -> str:
    """Return the driver's message of an error on one line, without details and passwords."""
    message = error.strerror if isinstance(error, OSError) else None
    return masked(" ".join(_DETAILS.sub("", message or str(error)).split()))


def _problem(uri: str) -> str | None:
    try:
        Client(uri, connect=False).close()
    except (PyMongoError, ValueError, OSError) as error:
        return driver_message(error)
    return None
