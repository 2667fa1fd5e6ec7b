"""The commands that a driver sends, as they go over the wire."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent


class Commands(CommandListener):
    """Remembers every command, by name and body."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    @property
    def names(self) -> list[str]:
        """The names of the commands, in order."""
        return [name for name, _ in self.sent]

    def last(self, name: str) -> dict[str, Any]:
        """The body of the last command of that name."""
        return next(body for sent, body in reversed(self.sent) if sent == name)

    @property
    def last_pipeline(self) -> list[dict[str, Any]]:
        """The stages of the last page that was read, be it by `find` or by `aggregate`."""
        # A page has an order, and a look for op names after it has none.
        name, body = next(sent for sent in reversed(self.sent) if sent[0] == "aggregate" or sent[1].get("sort"))
        if name == "aggregate":
            found: list[dict[str, Any]] = body["pipeline"]
            return found
        skip = [{"$skip": body["skip"]}] if body.get("skip") else []
        shown = [{"$project": body["projection"]}]
        return [{"$match": body["filter"]}, {"$sort": body["sort"]}, *skip, {"$limit": body["limit"]}, *shown]

    def started(self, event: CommandStartedEvent) -> None:
        """Remember the command."""
        self.sent.append((event.command_name, dict(event.command)))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Only what is sent counts."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Only what is sent counts."""


class Overheard(CommandListener):
    """What one client of many tests sends, told to the one whose database it goes to."""

    def __init__(self) -> None:
        self._listening: dict[str, CommandListener] = {}

    @contextmanager
    def by(self, database: str, listener: CommandListener) -> Iterator[None]:
        """Tell a listener what goes to a database, and to `admin`, as long as the block lasts."""
        self._listening[database] = listener
        try:
            yield
        finally:
            del self._listening[database]

    def started(self, event: CommandStartedEvent) -> None:
        """Tell of the command."""
        for listener in self._of(event.database_name):
            listener.started(event)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Tell of its success."""
        for listener in self._of(event.database_name):
            listener.succeeded(event)

    def failed(self, event: CommandFailedEvent) -> None:
        """Tell of its failure."""
        for listener in self._of(event.database_name):
            listener.failed(event)

    def _of(self, database: str) -> list[CommandListener]:
        if database == "admin":
            return list(self._listening.values())
        return [self._listening[database]] if database in self._listening else []
