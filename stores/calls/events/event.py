"""Events: changes of calls, with their positions in the change stream, and the filters that select them.

A cursor is valid for any filter and query over its project, and at every server of the same database. A resume token
contains MongoDB's timestamp, which advances with writes to any project. Cursors are therefore encrypted and padded, and
no two are equal; otherwise equal cursors would reveal that no project was written to.

Tokens are hexadecimal texts that sort lexically. After one byte for the type come the seconds and the counter of the
timestamp, then the format version (2B..). A 0 (29) follows if the token is a bare timestamp, which sorts before all
changes of that timestamp.
"""

import asyncio
import base64
import binascii
import os
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from bson.timestamp import Timestamp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from stores.calls.feedback.conditions import Conditions, FeedbackAccess, FeedbackFieldTable
from stores.calls.fields import CALL_FIELDS, CallsFilter
from stores.calls.list_query import compile_calls_query, conjuncts, uses_cost
from stores.database import Database
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.paging import Row, scope_of
from stores.query import Query
from stores.query.evaluator import LARGE_JSON_BYTES, DocumentValues, compile_test
from stores.query.parser import Operand, Operation, Operator, iter_gets
from stores.security.shared_secrets import CURSORS, shared_secret

_NONCE_BYTES: Final = 12
_PADDED_BYTES: Final = 128
"""Bytes to which a resume token is padded, plus the project id's length; long call ids take a multiple of that."""
_END: Final = b"\x80"

CURSOR_ARGUMENT: Final = "after"
"""Name of the argument that takes a cursor."""

_TYPE: Final = "82"
_SECONDS: Final = slice(2, 10)
_COUNTER: Final = slice(10, 18)
_VERSION: Final = slice(18, 20)
_KIND: Final = slice(22, 24)

_FIELDS: Final = FeedbackFieldTable(CALL_FIELDS)

_Result = TypeVar("_Result")

_OVERHEAD_BYTES: Final = 4096
"""Estimated bytes of an event in memory besides its JSON text."""


class Cursors:
    """Creates and reads the event cursors of one database; call `open` first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opened: AESGCMSIV | None = None

    async def open(self) -> None:
        """Read the secret that all servers of the database share; further calls do nothing.

        Two of billions of random nonces may be equal, which AES-GCM-SIV tolerates and AES-GCM does not (RFC 8452).

        Raises:
            UnavailableError: if the database is unreachable.
        """
        if self._opened is None:
            self._opened = AESGCMSIV(await shared_secret(self._database, CURSORS))

    def encode(self, project_id: str, token: str) -> str:
        """Create a cursor for a resume token, a hexadecimal text, in a project's events."""
        nonce, project = os.urandom(_NONCE_BYTES), project_id.encode()
        content = bytes.fromhex(token) + _END
        padding = bytes(-len(content) % (len(project) + _PADDED_BYTES))
        encrypted = self._cipher.encrypt(nonce, content + padding, project)
        return base64.urlsafe_b64encode(nonce + encrypted).decode().rstrip("=")

    def decode(self, project_id: str, cursor: str) -> str:
        """Return the resume token of a project's cursor.

        Raises:
            BadInputError: if the cursor belongs to another project, or is none.
        """
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            decoded = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
            content = self._cipher.decrypt(decoded[:_NONCE_BYTES], decoded[_NONCE_BYTES:], project_id.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise BadInputError(
                "not a cursor of this project's events; use the cursor of an event, or callEventsCursor",
                CURSOR_ARGUMENT,
            ) from None
        return content.rstrip(b"\0").removesuffix(_END).hex().upper()

    @property
    def _cipher(self) -> AESGCMSIV:
        if self._opened is None:
            raise AssertionError("Cursors.open must be awaited before encode or decode")
        return self._opened


def is_known_format(token: str) -> bool:
    """Return True if the token has the known format; tokens of other formats are only compared."""
    return token[:2] == _TYPE and token[_VERSION] == "2B"


def is_bare_timestamp(token: str) -> bool:
    """Return True if the token is a bare timestamp; any other token reveals whose change it is."""
    return is_known_format(token) and token[_KIND] == "29"


def timestamp_of(token: str) -> Timestamp | None:
    """Return the token's timestamp; None if its format is unknown."""
    return Timestamp(int(token[_SECONDS], 16), int(token[_COUNTER], 16)) if is_known_format(token) else None


def token_at(timestamp: Timestamp) -> str:
    """Return the token before all changes of a timestamp, in the oldest format, which every MongoDB accepts."""
    return f"{_TYPE}{timestamp.time:08X}{timestamp.inc:08X}2B0229296E04"


def token_after_timestamp(token: str) -> str:
    """Return the token after all changes of a bare timestamp; any other token unchanged."""
    if not is_bare_timestamp(token):
        return token
    return f"{token[: _COUNTER.start]}{int(token[_COUNTER], 16) + 1:08X}{token[_COUNTER.stop :]}"


@dataclass(slots=True)
class CallEvent:
    """A change of one call (`started`, `ended`, `updated` or `deleted`) with the call's state when it was read.

    `token` orders the events of all projects lexically. One event serves many subscribers; `cache` keeps what is
    computed from it for all of them.
    """

    type: str
    call: Row
    token: str
    cursors: Cursors = field(repr=False, compare=False)
    cache: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    on_grow: Callable[[int], None] | None = field(default=None, repr=False, compare=False)
    """Callback with the number of bytes by which the event grows while the log keeps it."""
    _cache_bytes: int = field(default=0, repr=False, compare=False)
    _cursor: str = field(default="", repr=False, compare=False)

    @property
    def cursor(self) -> str:
        """The opaque cursor after this event in its project, the same for all subscribers."""
        self._cursor = self._cursor or self.cursors.encode(self.call["project_id"], self.token)
        return self._cursor

    @property
    def cursor_before(self) -> str | None:
        """The cursor before all events of this event's timestamp; None if the token's format is unknown."""
        timestamp = timestamp_of(self.token)
        return self.cursors.encode(self.call["project_id"], token_at(timestamp)) if timestamp else None

    @property
    def size(self) -> int:
        """Estimated bytes of memory, including cached values."""
        return self.json_bytes + _OVERHEAD_BYTES + self._cache_bytes

    @property
    def json_bytes(self) -> int:
        """Bytes of the call's JSON text."""
        size: int = self.call.get("storage_size_bytes", 0)
        return size

    @property
    def is_large(self) -> bool:
        """True if the JSON must be evaluated in a thread."""
        return self.json_bytes > LARGE_JSON_BYTES

    def grow(self, size: int) -> None:
        """Count bytes of newly cached values."""
        self._cache_bytes += size
        if self.on_grow:
            self.on_grow(size)

    async def cached(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Return the cached result of `make`; concurrent callers share one run, and failures are not cached."""

        def drop_if_failed(task: asyncio.Task[_Result]) -> None:
            if task.cancelled() or task.exception():
                del self.cache[key]

        if key not in self.cache:
            self.cache[key] = asyncio.create_task(make())
            self.cache[key].add_done_callback(drop_if_failed)
        result: _Result = await asyncio.shield(self.cache[key])
        return result


class EventFilter:
    """Selects the events of a project's calls by a filter and a query.

    Subscribers with equal `key`s share one evaluation. The event alone decides most conditions; `needs_lookup` holds
    those on feedback or costs, which calls do not store.
    """

    def __init__(self, project_id: str, calls_filter: CallsFilter | None = None, query: Query | None = None) -> None:
        """Compile the filter.

        Raises:
            BadInputError: if the project id, the filter or the query is invalid; the error names the field.
        """
        check_project_id(project_id)
        operation = compile_calls_query(query, _FIELDS, project_id) if query else None
        self.project_id = project_id
        self.key = scope_of(calls_filter, operation)
        self._filter_test = calls_filter.test(project_id) if calls_filter else None
        conditions = conjuncts(operation) if operation else ()
        stored = tuple(condition for condition in conditions if not uses_lookup(condition))
        self._query_test = compile_test(Operation(Operator.AND, stored)) if stored else None
        self.needs_lookup = tuple(condition for condition in conditions if uses_lookup(condition))
        """The conditions that need a lookup, all of which must be true."""
        if self.needs_lookup:
            Conditions(Operation(Operator.AND, self.needs_lookup))  # validates their number

    def matches(self, call: Row, values: DocumentValues) -> bool:
        """Return True if an event passes, apart from the conditions that need a lookup.

        Use a thread for a large event.
        """
        if self._filter_test and not self._filter_test(call):
            return False
        return self._query_test is None or self._query_test(values)


def uses_lookup(operation: Operand) -> bool:
    """Return True if an operation uses feedback or a cost, which the event alone cannot decide."""
    return uses_cost(operation) or any(isinstance(get.access, FeedbackAccess) for get in iter_gets(operation))
