"""Completions: what models of providers answer, asked for by the server itself and kept as calls."""

from stores.completions.inputs import CompletionInputs
from stores.completions.store import MAX_AT_ONCE, Completion, CompletionEvent, CompletionsStore

__all__ = ["MAX_AT_ONCE", "Completion", "CompletionEvent", "CompletionInputs", "CompletionsStore"]
