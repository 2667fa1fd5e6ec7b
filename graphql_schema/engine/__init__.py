"""From a document to its result: parse, limit, plan, execute, format."""
