"""Rules by which the forms of all senders become one: OpenTelemetry's conventions, Weave, and providers' payloads."""
