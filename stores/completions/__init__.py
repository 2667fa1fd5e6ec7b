"""Completions: what models of providers answer, asked for by the server itself and kept as calls."""

from stores.completions.inputs import CompletionInputs
from stores.completions.store import Completion, CompletionsStore

__all__ = ["Completion", "CompletionInputs", "CompletionsStore"]
