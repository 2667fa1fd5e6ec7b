"""JSON text and values: codec, limits, paths, traversal, BSON copies."""
