"""The messages of graphql-transport-ws, as clients may send them."""

from collections.abc import Mapping
from types import NoneType
from typing import Final

from app.graphql_http.trusted_documents import asks_for_none

_Shape = Mapping[str, type | tuple[type, ...]]
_MAYBE_OBJECT: Final = (dict, NoneType)
_MESSAGES: Final[Mapping[str, _Shape]] = {
    "connection_init": {"payload": _MAYBE_OBJECT},
    "ping": {"payload": _MAYBE_OBJECT},
    "pong": {"payload": _MAYBE_OBJECT},
    "subscribe": {"id": str, "payload": dict},
    "complete": {"id": str},
}
_SUBSCRIBE_PAYLOAD: Final[_Shape] = {
    "query": (str, NoneType),
    "documentId": (str, NoneType),
    "operationName": (str, NoneType),
    "variables": _MAYBE_OBJECT,
    "extensions": _MAYBE_OBJECT,
}


def flaw_of(message: object) -> str | None:
    """What keeps a decoded message from being one of the protocol's; None if nothing does."""
    if not isinstance(message, dict):
        return "A message must be a JSON object."
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _MESSAGES:
        return f"The type of a message must be one of {', '.join(_MESSAGES)}."
    misfit = _misfit(message, _MESSAGES[kind])
    if misfit is None and kind == "subscribe":
        payload = message["payload"]
        misfit = _misfit(payload, _SUBSCRIBE_PAYLOAD)
        if misfit is None and payload.get("query") is None and asks_for_none(payload):
            misfit = "query"
    return f"The {misfit} of a {kind} message is missing or of the wrong type." if misfit else None


def _misfit(members: Mapping[str, object], shape: _Shape) -> str | None:
    return next((name for name, types in shape.items() if not isinstance(members.get(name), types)), None)
