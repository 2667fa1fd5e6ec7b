"""JSON text and values: codec, limits, paths, traversal, BSON copies. Imports only `stores.errors` of the stores."""

from typing import Any, TypeAlias

AnyJson: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list, or dict with text as keys.

It is `Any` for mypy, because code that walks foreign JSON would otherwise need a cast at each step.
"""
