"""OpenTelemetry: OTLP spans, converted to calls."""

from stores.otel.project_routing import Projects
from stores.otel.store import Exported, OtelStore

__all__ = ["Exported", "OtelStore", "Projects"]
