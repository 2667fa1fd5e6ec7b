"""Process-level services that routes may import: shutdown, uvicorn subclasses, heap."""
