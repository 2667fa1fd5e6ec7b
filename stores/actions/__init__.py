"""Actions: what an ActionSpec says is done with calls, each result kept as feedback on its call."""

from stores.actions.store import MAX_CALLS, ActionsStore, Executed

__all__ = ["MAX_CALLS", "ActionsStore", "Executed"]
