"""The HTTP kit that all endpoints share: bodies, errors, media types."""
