"""Validation of graphql-transport-ws messages from clients."""

from collections.abc import Mapping
from types import NoneType
from typing import Final

from app.graphql_http.trusted_documents import asks_for_none

_Members = Mapping[str, type | tuple[type, ...]]
_OPTIONAL_OBJECT: Final = (dict, NoneType)
_MESSAGES: Final[Mapping[str, _Members]] = {
    "connection_init": {"payload": _OPTIONAL_OBJECT},
    "ping": {"payload": _OPTIONAL_OBJECT},
    "pong": {"payload": _OPTIONAL_OBJECT},
    "subscribe": {"id": str, "payload": dict},
    "complete": {"id": str},
}
_SUBSCRIBE_PAYLOAD: Final[_Members] = {
    "query": (str, NoneType),
    "documentId": (str, NoneType),
    "operationName": (str, NoneType),
    "variables": _OPTIONAL_OBJECT,
    "extensions": _OPTIONAL_OBJECT,
}


def flaw_of(message: object) -> str | None:
    """Return what is wrong with a decoded message; None if it is valid."""
    if not isinstance(message, dict):
        return "A message must be a JSON object."
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _MESSAGES:
        return f"The type of a message must be one of {', '.join(_MESSAGES)}."
    wrong_member = _wrong_member(message, _MESSAGES[kind])
    if wrong_member is None and kind == "subscribe":
        payload = message["payload"]
        wrong_member = _wrong_member(payload, _SUBSCRIBE_PAYLOAD)
        if wrong_member is None and payload.get("query") is None and asks_for_none(payload):
            wrong_member = "query"
    return f"The {wrong_member} of a {kind} message is missing or of the wrong type." if wrong_member else None


def _wrong_member(members: Mapping[str, object], expected: _Members) -> str | None:
    return next((name for name, types in expected.items() if not isinstance(members.get(name), types)), None)
