"""OpenTelemetry protocol (OTLP): traces over HTTP and gRPC."""
