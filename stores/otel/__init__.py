"""OpenTelemetry: OTLP spans and log records, converted to calls and feedback."""

from stores.otel.spans import LOGS, TRACES, Projects, Signal
from stores.otel.store import Exported, OtelStore

__all__ = ["LOGS", "TRACES", "Exported", "OtelStore", "Projects", "Signal"]
