"""Authentication of callers, and the role that each route requires."""
