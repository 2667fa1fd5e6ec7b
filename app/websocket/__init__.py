"""GraphQL over WebSocket."""

from app.websocket.endpoint import GraphQLWebSocket

__all__ = ["GraphQLWebSocket"]
