"""API of the Weave SDK: programs instrumented with `weave` log into LoomQL without changes."""

from app.weave.routes import WEAVE_PERMISSIONS, WeaveDoor

__all__ = ["WEAVE_PERMISSIONS", "WeaveDoor"]
