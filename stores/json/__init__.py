"""JSON text and values: codec, limits, paths, traversal, BSON copies. Imports only `stores.errors` of the stores."""
