"""API of the Weave SDK: programs instrumented with `weave` log into LoomQL without changes."""

from app.weave.routes import WeaveDoor

__all__ = ["WeaveDoor"]
