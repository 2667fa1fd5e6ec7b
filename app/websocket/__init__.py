"""GraphQL over WebSocket, by the protocol graphql-transport-ws."""

from app.websocket.endpoint import GraphQLWebSocket

__all__ = ["GraphQLWebSocket"]
