"""What events of a span say of the call: what went into a model and came out, and what went wrong."""

from collections.abc import Callable
from typing import Any

from stores.otel import conventions
from stores.otel.values import OPENING

Event = dict[str, Any]
Decode = Callable[[str], Any]
"""What reads a string that begins like JSON."""


def inputs_of(events: list[Event], decode: Decode) -> dict[str, Any]:
    """What went in, under the key that says so; empty where no event tells."""
    told = _told(events, conventions.EVENT_INPUTS, decode)
    said = _messages(events, conventions.INPUT_MESSAGE_EVENTS, decode)
    return told or ({conventions.INPUT_MESSAGES: said} if said else {})


def output_of(events: list[Event], decode: Decode) -> dict[str, Any]:
    """What came out, the same way."""
    told = _told(events, conventions.EVENT_OUTPUTS, decode)
    said = _messages(events, conventions.OUTPUT_MESSAGE_EVENTS, decode)
    return told or ({conventions.OUTPUT_MESSAGES: said} if said else {})


def exception_of(events: list[Event]) -> str | None:
    """The last exception that was noted, as `type: message`; None where there is none."""
    for event in reversed(events):
        told = event["attributes"].get("exception") if event["name"] == "exception" else None
        if isinstance(told, dict):
            parts = [str(told[name]) for name in ("type", "message") if told.get(name)]
            return ": ".join(parts) or None
    return None


def _told(events: list[Event], keys: dict[str, str], decode: Decode) -> dict[str, Any]:
    for event in events:
        key = keys.get(event["name"])
        value = _at(event["attributes"], key, decode) if key else None
        if value:
            return {str(key): value}
    return {}


def _messages(events: list[Event], roles: dict[str, str], decode: Decode) -> list[dict[str, Any]]:
    """One message for each event that is one, as its attributes say it."""
    return [
        {"role": roles[event["name"]], **{key: _decoded(value, decode) for key, value in event["attributes"].items()}}
        for event in events
        if event["name"] in roles
    ]


def _at(attributes: dict[str, Any], key: str, decode: Decode) -> Any:  # noqa: ANN401 -- JSON
    found: Any = attributes
    for step in key.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return _decoded(found, decode)


def _decoded(value: Any, decode: Decode) -> Any:  # noqa: ANN401 -- JSON
    return decode(value) if isinstance(value, str) and value.startswith(OPENING) else value
