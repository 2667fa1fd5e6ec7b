"""OpenTelemetry: OTLP spans, converted to calls."""

from stores.otel.spans import Projects
from stores.otel.store import Exported, OtelStore

__all__ = ["Exported", "OtelStore", "Projects"]
