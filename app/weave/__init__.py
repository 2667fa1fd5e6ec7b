"""The Weave SDK's door: a program that is instrumented with `weave` logs into LoomQL as it is."""

from app.weave.routes import PREFIX, WeaveDoor

__all__ = ["PREFIX", "WeaveDoor"]
