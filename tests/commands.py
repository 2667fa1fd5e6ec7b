"""The commands that a driver sends, as they go over the wire."""

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
        name, body = next(sent for sent in reversed(self.sent) if sent[0] in {"find", "aggregate"})
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
