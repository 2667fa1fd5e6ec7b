"""OpenTelemetry protocol (OTLP): traces over HTTP and gRPC."""

from app.otlp.endpoint import TracesEndpoint

__all__ = ["TracesEndpoint"]
