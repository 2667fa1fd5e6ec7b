"""What the API does: documents, queries and pipelines over MongoDB."""
