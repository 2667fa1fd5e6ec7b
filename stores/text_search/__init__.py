"""Text search: calls by the texts in their inputs, outputs, exceptions and names."""

from stores.text_search.highlights import Highlight
from stores.text_search.indexing import SearchIndex
from stores.text_search.pages import FoundPage, Method
from stores.text_search.store import TextSearchStore

__all__ = ["FoundPage", "Highlight", "Method", "SearchIndex", "TextSearchStore"]
