"""OpenTelemetry: spans that become calls."""

from stores.otel.store import Exported, OtelStore

__all__ = ["Exported", "OtelStore"]
