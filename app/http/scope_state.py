"""What the app's parts leave for each other in the state of an ASGI scope, by its names; it knows none of them."""

from typing import Final

CALLER: Final = "caller"
"""Who asks, as authentication has found it out: a `stores.security.access.Caller`."""

UNDER_WAY: Final = "under_way"
"""What is observed of the request: an `app.observability.request_record.UnderWay`."""

OPEN_WEBSOCKET: Final = "open_websocket"
"""The place of a WebSocket among those that are open: an `app.admission.websockets.OpenWebSocket`."""
