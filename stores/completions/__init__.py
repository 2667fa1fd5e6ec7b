"""Completions: chat requests that the server sends to model providers and stores as calls."""

from stores.completions.store import MAX_CONCURRENT, Completion, CompletionEvent, CompletionInputs, CompletionsStore

__all__ = ["MAX_CONCURRENT", "Completion", "CompletionEvent", "CompletionInputs", "CompletionsStore"]
