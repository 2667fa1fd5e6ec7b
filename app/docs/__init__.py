"""LoomQL's documentation: Markdown pages, and the site at `/docs` that shows them."""
