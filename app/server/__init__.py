"""The composition root: application, lifespan, process start, health."""
