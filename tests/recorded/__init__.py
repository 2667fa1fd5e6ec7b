"""Requests that real client libraries and instrumentors sent, recorded by `record.py` and replayed by tests."""
