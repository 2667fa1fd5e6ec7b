"""Listeners that record the commands that the driver sends to MongoDB."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

_EACH_OP_NAME: Final = {"$group": {"_id": "$op_name"}}
_FOR_TIME: Final = {"_id": 0, "project_id": 1}
"""Projection of the queries whose answers tell the time of a snapshot on a cluster."""


class Commands(CommandListener):
    """A listener that records the name and body of every command, except those by which a process knows a collection.

    It lists the indexes of a collection and estimates the shares of projects before a scan, and then not for a while.
    On a cluster it also asks for the time of each snapshot.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    @property
    def names(self) -> list[str]:
        """Return the names of the commands in the order in which the driver sent them."""
        return [name for name, _ in self.sent]

    def last(self, name: str) -> dict[str, Any]:
        """Return the body of the last command with this name."""
        return next(body for sent, body in reversed(self.sent) if sent == name)

    @property
    def last_pipeline(self) -> list[dict[str, Any]]:
        """Return the last page read as pipeline stages, for `find` and `aggregate` alike."""
        # After a page by op name, the names are read again.
        name, body = next(
            sent
            for sent in reversed(self.sent)
            if (sent[0] == "aggregate" and _EACH_OP_NAME not in sent[1]["pipeline"]) or sent[1].get("sort")
        )
        if name == "aggregate":
            found: list[dict[str, Any]] = body["pipeline"]
            return found
        skip = [{"$skip": body["skip"]}] if body.get("skip") else []
        shown = [{"$project": body["projection"]}]
        return [{"$match": body["filter"]}, {"$sort": body["sort"]}, *skip, {"$limit": body["limit"]}, *shown]

    def started(self, event: CommandStartedEvent) -> None:
        is_estimate = any("$sample" in stage for stage in event.command.get("pipeline", ()))
        asks_time = event.command.get("projection") == _FOR_TIME and "singleBatch" in event.command
        if event.command_name != "listIndexes" and not is_estimate and not asks_time:
            self.sent.append((event.command_name, dict(event.command)))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Ignore it: only sent commands are recorded."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Ignore it: only sent commands are recorded."""


class Overheard(CommandListener):
    """A listener on a shared client that forwards each event to the listener of its database."""

    def __init__(self) -> None:
        self._listening: dict[str, CommandListener] = {}

    @contextmanager
    def by(self, database: str, listener: CommandListener) -> Iterator[None]:
        """Forward the events of a database, and those of `admin`, to a listener until the block ends."""
        self._listening[database] = listener
        try:
            yield
        finally:
            del self._listening[database]

    def started(self, event: CommandStartedEvent) -> None:
        """Forward the event."""
        for listener in self._of(event.database_name):
            listener.started(event)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Forward the event."""
        for listener in self._of(event.database_name):
            listener.succeeded(event)

    def failed(self, event: CommandFailedEvent) -> None:
        """Forward the event."""
        for listener in self._of(event.database_name):
            listener.failed(event)

    def _of(self, database: str) -> list[CommandListener]:
        if database == "admin":
            return list(self._listening.values())
        return [self._listening[database]] if database in self._listening else []
