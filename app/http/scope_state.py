"""Keys of values that the layers of the server share in the state of an ASGI scope."""

from typing import Final

CALLER: Final = "caller"
"""The authenticated caller, a `stores.security.access.Caller`."""

REQUEST_RECORD: Final = "request_record"
"""The record of the request, an `app.observability.request_record.RequestRecord`."""

OPEN_WEBSOCKET: Final = "open_websocket"
"""The slot of the WebSocket, a `stores.concurrency.admission.Slot`."""
