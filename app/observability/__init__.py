"""Observability: metrics, logs, tracing, request ids, audit sink."""
