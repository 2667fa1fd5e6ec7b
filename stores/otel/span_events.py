"""Inputs, outputs and exceptions from the events of a span."""

from collections.abc import Callable
from typing import Any

from stores.otel import conventions
from stores.otel.values import OPENING

Event = dict[str, Any]
Decode = Callable[[str], Any]
"""Decodes a string that starts like JSON."""


def inputs_of(events: list[Event], decode: Decode) -> dict[str, Any]:
    """Return the inputs under their key; empty if no event has them."""
    inputs = _attribute_of_event(events, conventions.EVENT_INPUTS, decode)
    messages = _messages(events, conventions.INPUT_MESSAGE_EVENTS, decode)
    return inputs or ({conventions.INPUT_MESSAGES: messages} if messages else {})


def output_of(events: list[Event], decode: Decode) -> dict[str, Any]:
    """Return the output under its key; empty if no event has it."""
    output = _attribute_of_event(events, conventions.EVENT_OUTPUTS, decode)
    messages = _messages(events, conventions.OUTPUT_MESSAGE_EVENTS, decode)
    return output or ({conventions.OUTPUT_MESSAGES: messages} if messages else {})


def exception_of(events: list[Event]) -> str | None:
    """Return the last recorded exception as `type: message`; None if there is none."""
    for event in reversed(events):
        exception = event["attributes"].get("exception") if event["name"] == "exception" else None
        if isinstance(exception, dict):
            parts = [str(exception[name]) for name in ("type", "message") if exception.get(name)]
            return ": ".join(parts) or None
    return None


def _attribute_of_event(events: list[Event], keys: dict[str, str], decode: Decode) -> dict[str, Any]:
    for event in events:
        key = keys.get(event["name"])
        value = _at(event["attributes"], key, decode) if key else None
        if value:
            return {str(key): value}
    return {}


def _messages(events: list[Event], roles: dict[str, str], decode: Decode) -> list[dict[str, Any]]:
    """Build one message for each message event, from its attributes."""
    return [
        {"role": roles[event["name"]], **{key: _decoded(value, decode) for key, value in event["attributes"].items()}}
        for event in events
        if event["name"] in roles
    ]


def _at(attributes: dict[str, Any], key: str, decode: Decode) -> Any:  # noqa: ANN401 -- JSON
    value: Any = attributes
    for step in key.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return _decoded(value, decode)


def _decoded(value: Any, decode: Decode) -> Any:  # noqa: ANN401 -- JSON
    return decode(value) if isinstance(value, str) and value.startswith(OPENING) else value
