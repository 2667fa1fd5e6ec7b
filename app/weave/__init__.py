"""API of the Weave SDK: programs instrumented with `weave` log into LoomQL without changes."""
